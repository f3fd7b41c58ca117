"""`heft image cp`: an image from any place to any other; its blobs go as they are.

A place is an image of the store (`NAME[:TAG]`, an id), a file or a directory (with a path that
begins with `/`, `./` or `../`), standard input or output (`-`), an image of a registry
(`docker://NAME[:TAG]`), or one of another host's Heft (`ssh://[USER@]HOST[:PORT]/NAME`, where
`heft image cp` does the other half). Everything passes as one stream, an archive as `heft save`
writes it.
"""

from __future__ import annotations

import os
import sys

from heft.cli.client import path
from heft.cli.command import Command
from heft.cli.commands.images_change import split_reference
from heft.cli.connection import file_blocks
from heft.cli.failures import Failure
from heft.cli.flags import switch
from heft.cli.frames import write_all
from heft.cli.progress import counted, follow, on_stderr
from heft.cli.terminal import STDIN, STDOUT, is_terminal
from heft.cli.whole_file import write_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from subprocess import Popen

    from heft.cli.command import Invocation

SSH = "ssh://"
REGISTRY = "docker://"
"""As skopeo and containers-transports(5) have it."""
_RELAY = "/heft/v1/registries/image"
_PATHS = ("/", "./", "../")


def run(call: Invocation) -> int:
    """Copy one image."""
    source, target = call.arguments
    if _is_name(source) and _is_name(target):
        repository, tag = split_reference(target)
        call.client.post(f"{path('images', source)}/tag", repo=repository, tag=tag)
        return 0
    if target == "-" and is_terminal(STDOUT):
        raise Failure("refusing to write an image to a terminal: redirect it")
    progress = on_stderr(quiet=call.flags.on("quiet") or target == "-")
    _write(call, target, counted(_read(call, source), progress, "", "Copying"))
    progress.end()
    return 0


def _is_name(place: str) -> bool:
    return not (_is_path(place) or place == "-" or place.startswith((SSH, REGISTRY)))


def _is_path(place: str) -> bool:
    return place.startswith(_PATHS) or place in (".", "..")


def _read(call: Invocation, source: str) -> Iterable[bytes]:
    """Give an image as an archive. Raises `Failure`, at the beginning or in the midst of it."""
    if source == "-":
        return file_blocks(STDIN)
    if source.startswith(SSH):
        return _received(_ssh(source, lambda name: [name, "-"]))
    if source.startswith(REGISTRY):
        name, headers = _registry(source)
        return call.client.open("GET", _RELAY, {"name": name}, headers=headers).blocks()
    if not _is_path(source):
        return call.client.open("GET", path("images", source, "get")).blocks()
    if os.path.isdir(source):
        from heft.cli.layouts import pack

        return pack(source)
    try:
        return file_blocks(os.open(source, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        raise Failure(f"open {source}: {(error.strerror or str(error)).lower()}") from None


def _write(call: Invocation, target: str, blocks: Iterable[bytes]) -> None:
    """Let an archive be an image at a place, whole or not at all. Raises `Failure`."""
    if target == "-":
        for block in blocks:
            write_all(STDOUT, block)
    elif target.startswith(SSH):
        _send(_ssh(target, lambda name: ["-", name]), blocks)
    elif target.startswith(REGISTRY):
        name, headers = _registry(target)
        answer = call.client.open("POST", _RELAY, {"name": name}, stream=blocks, headers=headers)
        follow(answer.lines(), on_stderr(quiet=True), lambda _: None)
    elif not _is_path(target):
        answer = call.client.open("POST", "/heft/v1/images", {"name": target}, stream=blocks)
        follow(answer.lines(), on_stderr(quiet=True), sys.stdout.write)
    elif target.endswith("/") or os.path.isdir(target):
        from heft.cli.layouts import Layout

        Layout(target.rstrip("/") or "/").take(blocks)
    else:
        write_file(target, blocks, "copy image")


def _registry(place: str) -> tuple[str, dict[str, str]]:
    """Give the name of a registry's image, and the header of who somebody is there."""
    from heft.cli.docker_config import header, server_of

    name = place.removeprefix(REGISTRY)
    return name, header(server_of(name))


# Another host's Heft


def _ssh(place: str, arguments: Callable[[str], list[str]]) -> list[str]:
    """Give the command of the other half of a copy. Raises `Failure` for what names no image."""
    import shlex

    host, _, name = place.removeprefix(SSH).partition("/")
    user, at, host = host.rpartition("@")
    host, _, port = host.rpartition(":") if host.rpartition(":")[2].isdecimal() else (host, "", "")
    if not host or not name or not _is_name(name):
        raise Failure(f"{place} names no image of another host: {SSH}[USER@]HOST[:PORT]/NAME")
    remote = shlex.join(["heft", "image", "cp", "--quiet", *arguments(name)])
    host = host.removeprefix("[").removesuffix("]")  # of an address of IPv6
    return ["ssh", *(["-p", port] if port else []), "--", f"{user}{at}{host}", remote]


def _started(command: list[str], *, stdin: int, stdout: int | None = None) -> Popen[bytes]:
    import subprocess

    try:
        return subprocess.Popen(command, stdin=stdin, stdout=stdout)
    except OSError as error:
        raise Failure(f"cannot run {command[0]}: {error.strerror}") from None


def _received(command: list[str]) -> Iterator[bytes]:
    import subprocess

    with _started(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield from file_blocks(process.stdout.fileno())
    _check(command, process.returncode)


def _send(command: list[str], blocks: Iterable[bytes]) -> None:
    import subprocess

    with _started(command, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        try:
            for block in blocks:
                write_all(process.stdin.fileno(), block)
        except BrokenPipeError:
            pass  # it has ended, and says why
        except BaseException:
            process.kill()  # an end of file could pass for the end of the image
            raise
    _check(command, process.returncode)


def _check(command: list[str], status: int) -> None:
    if status:
        raise Failure(f"the copy by {' '.join(command)} failed (exit status {status})")


IMAGE_CP = Command(
    run,
    takes="SOURCE TARGET",
    flags=(switch("quiet", "Suppress the progress", "q"),),
    least=2,
    most=2,
)
