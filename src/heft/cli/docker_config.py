"""Docker's `config.json`: who somebody is to which registry, and the programs that keep that safe.

`auths` holds users and passwords by base64; `credsStore` names a program (`docker-credential-NAME`)
that has them in its place, `credHelpers` one a registry (docker/docker-credential-helpers). What
the file has besides is left as it is.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess

from heft.cli.failures import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

HUB = "https://index.docker.io/v1/"
"""What Docker Hub is called in the file."""
HELPER_SECONDS = 60
TOKEN_USER = "<token>"  # noqa: S105 - what helpers call an identity token's user
_NOT_FOUND = "credentials not found"


def server_of(reference: str) -> str:
    """Give the registry of an image's name, as the file calls it."""
    first, slash, _ = reference.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return key_of(first)
    return HUB


def key_of(server: str) -> str:
    """Give what the file calls a registry."""
    host = server.removeprefix("https://").removeprefix("http://").partition("/")[0]
    return HUB if host in ("", "docker.io", "index.docker.io") else host


def header(server: str) -> dict[str, str]:
    """Give the header that tells the daemon who somebody is to a registry; nothing for nobody."""
    found = Config().get(server)
    if not found:
        return {}
    content = json.dumps({**found, "serveraddress": server}).encode()
    return {"X-Registry-Auth": base64.urlsafe_b64encode(content).decode("ascii")}


def headers_of(references: Iterable[str]) -> dict[str, str]:
    """Give the header that tells the daemon who somebody is to the registries of images."""
    config = Config()
    servers = sorted({server_of(reference) for reference in references})
    known = {server: found for server in servers if (found := config.get(server))}
    if not known:
        return {}
    content = json.dumps(known).encode()
    return {"X-Registry-Config": base64.urlsafe_b64encode(content).decode("ascii")}


class Config:
    """The file in `$DOCKER_CONFIG`, or `~/.docker`."""

    def __init__(self) -> None:
        directory = os.environ.get("DOCKER_CONFIG") or os.path.expanduser("~/.docker")
        self.path = os.path.join(directory, "config.json")
        try:
            with open(self.path, encoding="utf-8") as file:
                self._content: dict[str, Any] = json.load(file)
        except FileNotFoundError:
            self._content = {}
        except (OSError, ValueError) as error:
            raise Failure(f"cannot read {self.path}: {error}") from None
        if not isinstance(self._content, dict):
            raise Failure(f"cannot read {self.path}: it is no JSON object")

    def _helper(self, server: str) -> str:
        helpers = self._content.get("credHelpers") or {}
        return str(helpers.get(server) or self._content.get("credsStore") or "")

    def get(self, server: str) -> dict[str, str]:
        """Give user and password, or a token; empty if there is neither."""
        if helper := self._helper(server):
            said = _run(helper, "get", server)
            found = json.loads(said) if said else {}
            user, secret = found.get("Username", ""), found.get("Secret", "")
            if user == TOKEN_USER:
                return {"identitytoken": secret}
            return {"username": user, "password": secret} if user else {}
        auths = self._content.get("auths") or {}
        for key, entry in auths.items():
            if key == server or key_of(key) == server:
                return _opened(entry)
        return {}

    def put(self, server: str, user: str, password: str, token: str) -> bool:
        """Keep what a registry took; say whether a program keeps it, and not the file."""
        if helper := self._helper(server):
            secret = (TOKEN_USER, token) if token else (user, password)
            body = {"ServerURL": server, "Username": secret[0], "Secret": secret[1]}
            _run(helper, "store", json.dumps(body))
            entry: dict[str, str] = {}
        else:
            pair = f"{user}:{'' if token else password}".encode()
            entry = {"auth": base64.b64encode(pair).decode("ascii")}
            if token:
                entry["identitytoken"] = token
        self._content["auths"] = {**(self._content.get("auths") or {}), server: entry}
        self._write()
        return bool(helper)

    def forget(self, server: str) -> bool:
        """Forget a registry's; False if there was nothing."""
        auths = self._content.get("auths") or {}
        known = [key for key in auths if key == server or key_of(key) == server]
        if helper := self._helper(server):
            _run(helper, "erase", server)
        for key in known:
            del auths[key]
        if known:
            self._write()
        return bool(known or helper)

    def _write(self) -> None:
        # A link to the file, as people keep among their settings, stays one.
        real = os.path.realpath(self.path)
        partial = f"{real}.{os.getpid()}"
        try:
            os.makedirs(os.path.dirname(real), mode=0o700, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            descriptor = os.open(partial, flags, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(self._content, file, indent="\t")
                file.flush()
                os.fsync(file.fileno())
            os.rename(partial, real)
        except OSError as error:
            raise Failure(f"cannot write {self.path}: {error.strerror}") from None


def _opened(entry: dict[str, str]) -> dict[str, str]:
    if token := entry.get("identitytoken") or entry.get("registrytoken"):
        kind = "identitytoken" if entry.get("identitytoken") else "registrytoken"
        return {kind: token}
    try:
        pair = base64.b64decode(entry.get("auth", "")).decode()
    except ValueError:
        raise Failure("invalid auth configuration file: auth is not base64") from None
    user, _, password = pair.partition(":")
    return {"username": user, "password": password.rstrip("\0")} if user else {}


def _run(helper: str, action: str, said: str) -> str:
    """Run a helper's action; give its answer, empty for what it does not know."""
    program = f"docker-credential-{helper}"
    try:
        done = subprocess.run(
            [program, action], input=said, capture_output=True, text=True, timeout=HELPER_SECONDS,
            check=False,
        )  # fmt: skip
    except FileNotFoundError:
        raise Failure(
            f"error getting credentials: there is no {program} in PATH, which Docker's config.json"
            " names (credsStore, credHelpers)"
        ) from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Failure(f"error getting credentials: {program}: {error}") from None
    if done.returncode and _NOT_FOUND not in done.stdout + done.stderr and action != "erase":
        why = (done.stdout + done.stderr).strip() or f"exit status {done.returncode}"
        raise Failure(f"error getting credentials: {program}: {why}")
    return "" if done.returncode else done.stdout
