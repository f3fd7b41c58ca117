"""What a machine's log is to be: its driver and the driver's options, in Docker's words. Pure.

The lines are in a file whatever the driver, but for `none` (conmon writes them): `logs` reads that.
`journald` and `syslog` are told of them besides; for these Docker calls the file a cache.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from heft.engine.sizes import parse_size
from heft.errors import InvalidArgument

if TYPE_CHECKING:
    from heft.model.config import HostConfig
    from heft.model.machine import Machine

SYSLOG = "syslog"
TYPES = frozenset({"", "json-file", "local", "none", "journald", SYSLOG})
_EVERY = frozenset({"mode", "max-buffer-size"})
_ABOUT = frozenset({"labels", "labels-regex", "env", "env-regex", "tag"})
_FILE = frozenset({"max-size", "max-file", "compress"})
_CACHE = frozenset({"cache-disabled", "cache-max-size", "cache-max-file", "cache-compress"})
_SYSLOG = frozenset(
    (
        "syslog-address syslog-facility syslog-format syslog-tls-ca-cert syslog-tls-cert"
        " syslog-tls-key syslog-tls-skip-verify"
    ).split()
)
OPTIONS = {
    "": _EVERY | _ABOUT | _FILE,
    "json-file": _EVERY | _ABOUT | _FILE,
    "local": _EVERY | _ABOUT | _FILE,
    "none": frozenset[str](),
    "journald": _EVERY | _ABOUT | _FILE | _CACHE,
    SYSLOG: _EVERY | _ABOUT | _CACHE | _SYSLOG,
}
"""By driver (docs.docker.com, Configure logging drivers)."""
BOUNDED = {"local": ("20m", "5"), "journald": ("20m", "5"), SYSLOG: ("20m", "5")}
"""Size and number of files where nothing is said (moby, loggerutils/cache and local)."""
_FIELD = re.compile(r"\{\{\s*\.(\w+)\s*\}\}")


def check(host: HostConfig) -> None:
    """Raise `InvalidArgument` for a driver or an option that there is not."""
    kind, options = host.log_config.type, host.log_config.config
    if kind not in TYPES:
        raise InvalidArgument(
            f"logger: no log driver named '{kind}' is registered",
            hint="there are json-file, local, journald, syslog and none",
        )
    for name in options:
        if name not in OPTIONS[kind]:
            raise InvalidArgument(f"unknown log opt '{name}' for {kind or 'json-file'} log driver")
    limits(host)
    fill_tag(options.get("tag", ""), {})


def limits(host: HostConfig) -> tuple[int, int]:
    """Give the log's size in bytes at which it is rotated (0: never) and the number of files."""
    kind, options = host.log_config.type, host.log_config.config
    usual_size, usual_files = BOUNDED.get(kind, ("", "1"))
    size = options.get("max-size") or options.get("cache-max-size") or usual_size
    files = options.get("max-file") or options.get("cache-max-file") or usual_files
    if not files.isdecimal() or not 1 <= int(files) <= 1000:
        raise InvalidArgument(f"max-file cannot be less than 1: '{files}'")
    if size in ("", "-1", "0"):
        return 0, int(files)
    return max(parse_size(size, "max-size"), 1), int(files)


def is_kept(host: HostConfig) -> bool:
    """Say whether there is a log at all."""
    return host.log_config.type != "none"


def is_readable(host: HostConfig) -> bool:
    """Say whether `logs` may read it."""
    cached = host.log_config.config.get("cache-disabled", "").lower() not in ("true", "1", "t")
    return is_kept(host) and cached


def tag(machine: Machine) -> str:
    """Give what the machine's lines are marked with (docs.docker.com, Customize log driver output).

    Docker's own default is `{{.ID}}`.
    """
    values = {
        "ID": machine.id[:12],
        "FullID": machine.id,
        "Name": machine.name,
        "ImageID": machine.image[:12],
        "ImageFullID": machine.image,
        "ImageName": machine.config.image,
        "DaemonName": "heft",
    }
    return fill_tag(machine.host_config.log_config.config.get("tag") or "{{.ID}}", values)


def fill_tag(template: str, values: dict[str, str]) -> str:
    """Put values in the place of `{{.NAME}}`; a name without a value becomes nothing.

    Raises `InvalidArgument` for anything else in braces: of Go's templates a tag has no more.
    """
    if "{{" in _FIELD.sub("", template):
        raise InvalidArgument(
            f"invalid log tag: {template}",
            hint="it may have {{.ID}}, {{.FullID}}, {{.Name}}, {{.ImageID}}, {{.ImageFullID}},"
            " {{.ImageName}} and {{.DaemonName}}",
        )
    return _FIELD.sub(lambda found: values.get(found[1], ""), template)
