"""Asking before something is gone for good."""

from __future__ import annotations

import sys


def ask(warning: str) -> bool:
    """Say whether the user wants to go on; no answer is no."""
    sys.stdout.write(f"{warning}\nAre you sure you want to continue? [y/N] ")
    sys.stdout.flush()
    answer = sys.stdin.readline().strip().lower()
    if answer not in ("y", "yes"):
        print()
        return False
    return True
