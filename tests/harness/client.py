"""A command-line client of a daemon: the real `docker`, or `heft`."""

import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.harness.daemon import Daemon
from tests.harness.pace import patience

PROGRAMS = {"docker": ("docker",), "heft": (str(Path(sys.executable).with_name("heft")),)}


class Client:
    """Calls the program with arguments."""

    def __init__(self, name: str, daemon: Daemon) -> None:
        self.name = name
        self.daemon = daemon
        self.program = PROGRAMS[name]

    @property
    def environment(self) -> dict[str, str]:
        """What makes the program talk to the daemon."""
        return self.daemon.environment

    def __call__(
        self, *arguments: str | Path, check: bool = True, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run it to its end, which must be a success unless `check` is off."""
        done = subprocess.run(
            [*self.program, *arguments],
            capture_output=True,
            text=True,
            env=self.environment,
            timeout=options.pop("timeout", patience(60)),
            check=False,
            **options,
        )
        assert not check or done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
        return done
