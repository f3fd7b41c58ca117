"""What the real `docker` command says of itself in its pages of help."""

import os
import re
import subprocess

_FLAG = re.compile(r"^ +(?:-\w, )?--([\w-]+)", re.MULTILINE)
_COMMAND = re.compile(r"^  ([\w-]+) {2,}\S", re.MULTILINE)
"""Commands of plugins, which are marked with a star, are not docker's own."""
_SECTION = re.compile(r"^(?:\w+ )?(?:Commands|Management Commands):\n((?:  .*\n?)+)", re.MULTILINE)


def version() -> int:
    """Give docker's major version."""
    done = _docker("--version")
    found = re.search(r"version (\d+)\.", done)
    assert found, done
    return int(found[1])


def commands() -> dict[str, frozenset[str]]:
    """Give the names of the flags of every command; the empty name is docker's own."""
    found: dict[str, frozenset[str]] = {}
    _walk((), found)
    return found


def _walk(words: tuple[str, ...], found: dict[str, frozenset[str]]) -> None:
    page = _docker(*words, "--help")
    below = [name for section in _SECTION.findall(page) for name in _COMMAND.findall(section)]
    if not (words and below):
        found[" ".join(words)] = frozenset(_FLAG.findall(page)) - {"help"}
    for name in below:
        _walk((*words, name), found)


def _docker(*words: str) -> str:
    """Ask docker where it has no daemon, whose version might hide some of it, and no settings."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": "/nonexistent",
        "DOCKER_HOST": "unix:///nonexistent",
        "DOCKER_BUILDKIT": "0",
    }
    command = ("docker", *words)
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return done.stdout
