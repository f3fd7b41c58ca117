"""Security options, as far as the client has a part in them (docker/cli, `parseSecurityOpts`)."""

from __future__ import annotations

import json

from heft.cli.failures import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ALONE = ("no-new-privileges",)


def apply(options: list[str], host: dict[str, Any]) -> None:
    """Put the options where they belong in a HostConfig; profiles are read from their files.

    Raises `Failure`.
    """
    kept = []
    for option in options:
        name, equals, value = option.partition("=" if "=" in option else ":")
        if not equals and option not in ALONE:
            raise Failure(f'Invalid --security-opt: "{option}"')
        if name == "systempaths" and value == "unconfined":
            host["MaskedPaths"], host["ReadonlyPaths"] = [], []
        elif name == "seccomp" and value not in ("unconfined", "builtin"):
            kept.append(f"seccomp={_profile(value)}")
        else:
            kept.append(f"{name}={value}" if equals else option)
    if kept:
        host["SecurityOpt"] = kept


def _profile(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return json.dumps(json.load(file), separators=(",", ":"))
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise Failure(f"opening seccomp profile ({path}) failed: open {path}: {reason}") from None
    except ValueError as error:
        raise Failure(f"compacting json for seccomp profile ({path}) failed: {error}") from None
