"""Pulling as a client: for `heft pull`, and for a machine whose image is not here."""

from __future__ import annotations

from heft.cli.docker_config import header, server_of
from heft.cli.failures import Failure
from heft.cli.progress import follow

TYPE_CHECKING = False
if TYPE_CHECKING:
    from heft.cli.client import Client
    from heft.cli.progress import Progress


def split(reference: str) -> tuple[str, str]:
    """Give an image's name, and its tag or digest: `latest` unless it has one."""
    name, at, digest = reference.partition("@")
    if at and ":" not in digest:  # by itself it would pass for a tag
        raise Failure("invalid reference format")
    head, slash, last = name.rpartition("/")
    last, _, tag = last.partition(":")
    return f"{head}{slash}{last}", digest if at else tag or "latest"


def pull(client: Client, name: str, tag: str, platform: str, progress: Progress) -> list[str]:
    """Pull an image, or all of a repository where `tag` is empty; give what the daemon says."""
    parameters = {"fromImage": name, "tag": tag, "platform": platform}
    headers = header(server_of(name))
    answer = client.open("POST", "/images/create", parameters, headers=headers)
    return follow(answer.lines(), progress, lambda _: None)


def full(name: str, tag: str) -> str:
    """Give a name as registries know it."""
    first, slash, _ = name.partition("/")
    if not (slash and ("." in first or ":" in first or first == "localhost")):
        name = f"docker.io/{name}" if slash else f"docker.io/library/{name}"
    return f"{name}@{tag}" if ":" in tag else f"{name}:{tag}"
