"""Ranges of ids for user namespaces that only this test process and its children see."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

FILES = (Path("/etc/subuid"), Path("/etc/subgid"))


@contextlib.contextmanager
def subordinate_ids(directory: Path, text: str) -> Iterator[None]:
    """Let both files have this text, by what is mounted over them."""
    with contextlib.ExitStack() as stack:
        for file in FILES:
            mine = directory / file.name
            mine.write_text(text)
            subprocess.run(["mount", "--bind", mine, file], check=True)
            stack.callback(subprocess.run, ["umount", file], check=True)
        yield
