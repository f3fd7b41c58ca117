"""Variables and labels: from flags, from files, from this process's own environment."""

from __future__ import annotations

import os

from heft.cli.failures import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

BYTE_ORDER_MARK = "\ufeff"


def variable(given: str) -> str:
    """Read `--env`: `NAME=value`, or `NAME` with the value it has here.

    A name that is not set here stays as it is, and takes the image's variable away. Raises
    `ValueError`.
    """
    name, equals, _ = given.partition("=")
    if not name:
        raise ValueError(f"invalid environment variable: {given}")
    if equals or name not in os.environ:
        return given
    return f"{name}={os.environ[name]}"


def label(given: str) -> str:
    """Read `--label`: `key=value` or `key`. Raises `ValueError`."""
    if not given or given.startswith("="):
        raise ValueError(f"invalid label '{given}': empty name")
    return given


def variables(files: Iterable[str], flags: Iterable[str]) -> list[str]:
    """Give those of the files, then those of the flags, which are read already."""
    found = []
    for path in files:
        for line in _lines(path):
            name, equals, _ = line.partition("=")
            if equals:
                found.append(line)
            elif name in os.environ:
                found.append(f"{name}={os.environ[name]}")
    return [*found, *flags]


def labels(files: Iterable[str], flags: Iterable[str]) -> dict[str, str]:
    """Give the labels of the files, then those of the flags.

    Lines of a file that have no value are left out, as Docker's client does.
    """
    lines = [line for path in files for line in _lines(path) if "=" in line]
    return mapping(lines + list(flags))


def mapping(given: Iterable[str]) -> dict[str, str]:
    """Give `key=value` texts as a mapping; `key` alone has an empty value."""
    return {key: value for key, _, value in (each.partition("=") for each in given)}


def _lines(path: str) -> Iterator[str]:
    """Give a file's lines that say something. Raises `Failure` (docker/cli, opts/file.go)."""
    try:
        with open(path, encoding="utf-8") as file:
            content = file.read()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise Failure(f"open {path}: {reason}") from None
    except UnicodeDecodeError as error:
        raise Failure(f"invalid env file ({path}): invalid utf8 bytes: {error}") from None
    for line in content.removeprefix(BYTE_ORDER_MARK).splitlines():
        text = line.lstrip()
        if not text or text.startswith("#"):
            continue
        name = text.partition("=")[0]
        if not name:
            raise Failure(f"invalid env file ({path}): no variable name on line '{text}'")
        if any(space in name.rstrip("\r") for space in " \t"):
            raise Failure(f"invalid env file ({path}): variable '{name}' contains whitespaces")
        yield text
