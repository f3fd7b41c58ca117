"""`heft doctor`: what this host has of what each weight needs, by trying it.

It stands alone: it imports nothing of the daemon, needs nothing but Python, and works on a host
where Heft cannot run yet. A probe really does what a machine would do (in a child process with
namespaces of its own, so that the host stays as it is; the kernel may load a module for it, as it
would for a machine), and reads a file only where there is nothing to try.
"""

from __future__ import annotations


def main(arguments: list[str]) -> int:
    """Run `heft doctor`; give the exit code."""
    from heft.doctor.command import run

    return run(arguments)
