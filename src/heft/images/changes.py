"""Changes to an image's configuration, as the instructions of a Dockerfile that need no build.

Docker allows these of `import --change` and `commit --change` (docs.docker.com/reference/dockerfile
has the syntax of each).
"""

from __future__ import annotations

import json
import posixpath
import re
import shlex
from typing import TYPE_CHECKING, Any

import msgspec

from heft.errors import InvalidArgument
from heft.model.config import HealthConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from heft.model.config import Config

SHELL = ["/bin/sh", "-c"]

_PORT = re.compile(r"(\d+)(?:-(\d+))?(?:/(tcp|udp|sctp))?", re.IGNORECASE)
_VARIABLE = re.compile(
    r"\\(?P<escaped>.)|\$(?:(?P<plain>\w+)|\{(?P<name>\w+)(?::(?P<how>[-+])(?P<word>[^}]*))?\})"
)
_DURATION_UNITS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_DURATION_PART = re.compile(r"([0-9]{1,18}(?:\.[0-9]{0,18})?)(ns|us|µs|ms|s|m|h)")
_DURATION = re.compile(rf"0|(?:{_DURATION_PART.pattern})+")
LEAST_DURATION = 1_000_000
"""Nanoseconds."""
_SIGNAL = re.compile(r"(?:SIG)?[A-Z][A-Z0-9+-]*|[0-9]{1,2}")


def apply_changes(config: Config, changes: Iterable[str]) -> Config:
    """Give the configuration with the changes made. Raises `InvalidArgument`."""
    for change in changes:
        for line in change.splitlines():
            if line.strip():
                config = _apply(config, line.strip())
    return config


def _apply(config: Config, line: str) -> Config:
    word, _, rest = line.partition(" ")
    instruction = _INSTRUCTIONS.get(word.upper())
    if instruction is None:
        raise InvalidArgument(f"{word.upper()} is not a valid change command")
    if not rest.strip():
        raise InvalidArgument(f"{word.upper()} requires at least one argument")
    return instruction(config, rest.strip())


def _argv(config: Config, text: str) -> list[str]:
    listed = _json_list(text)
    return [*(config.shell or SHELL), text] if listed is None else listed


def _json_list(text: str) -> list[str] | None:
    """Read the JSON form; what is no list of strings is text, as Docker takes it."""
    try:
        value = json.loads(text)
    except ValueError:
        return None
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return value
    return None


def _expand(config: Config, text: str) -> str:
    """Put in the variables of the image's environment: `$A`, `${A}`, `${A:-word}`, `${A:+word}`."""
    known = dict(variable.partition("=")[::2] for variable in config.env)

    def value(match: re.Match[str]) -> str:
        if match["escaped"] is not None:
            return match["escaped"] if match["escaped"] == "$" else match[0]
        found = known.get(match["plain"] or match["name"], "")
        if match["how"] == "-":
            return found or match["word"]
        if match["how"] == "+":
            return match["word"] if found else ""
        return found

    return _VARIABLE.sub(value, text)


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise InvalidArgument(f"{text!r}: {str(error).lower()}") from error


def _pairs(config: Config, text: str, instruction: str) -> dict[str, str]:
    """Read `NAME=VALUE …`, or the older `NAME VALUE`."""
    name, space, rest = text.partition(" ")
    if "=" not in name:
        if not space:
            raise InvalidArgument(f"{instruction} must have two arguments")
        return {
            name: _expand(config, " ".join(_words(rest)) if rest[:1] in "'\"" else rest.strip())
        }
    pairs = {}
    for word in _words(_expand(config, text)):
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise InvalidArgument(
                f"Syntax error - can't find = in {word!r}. Must be of the form: name=value"
            )
        pairs[key] = value
    return pairs


def _cmd(config: Config, text: str) -> Config:
    return msgspec.structs.replace(config, cmd=_argv(config, text))


def _entrypoint(config: Config, text: str) -> Config:
    return msgspec.structs.replace(config, entrypoint=_argv(config, text))


def _env(config: Config, text: str) -> Config:
    known = dict(variable.partition("=")[::2] for variable in config.env)
    known.update(_pairs(config, text, "ENV"))
    return msgspec.structs.replace(config, env=[f"{name}={value}" for name, value in known.items()])


def _label(config: Config, text: str) -> Config:
    labels = {**config.labels, **_pairs(config, text, "LABEL")}
    return msgspec.structs.replace(config, labels=labels)


def _expose(config: Config, text: str) -> Config:
    ports = dict(config.exposed_ports)
    for word in _words(_expand(config, text)):
        match = _PORT.fullmatch(word)
        first = int(match[1]) if match else 0
        last = int(match[2]) if match and match[2] else first
        if match is None or not 0 < first <= last <= 65535:
            raise InvalidArgument(f"Invalid containerPort: {word}")
        protocol = (match[3] or "tcp").lower()
        ports.update({f"{port}/{protocol}": {} for port in range(first, last + 1)})
    return msgspec.structs.replace(config, exposed_ports=ports)


def _healthcheck(config: Config, text: str) -> Config:
    """Read `[--interval=30s …] CMD command`, or `NONE`."""
    fields: dict[str, Any] = {}
    word, _, rest = text.partition(" ")
    while word.startswith("--"):
        name, equals, value = word[2:].partition("=")
        if name not in _HEALTH_FLAGS:
            raise InvalidArgument(f"unknown flag: {name}")
        if not equals or not value:
            raise InvalidArgument(f"Missing a value on flag: {name}")
        field, read = _HEALTH_FLAGS[name]
        fields[field] = read(name, value)
        word, _, rest = rest.lstrip().partition(" ")
    if word.upper() == "NONE":
        if rest.strip() or fields:
            raise InvalidArgument("HEALTHCHECK NONE takes no arguments")
        return msgspec.structs.replace(config, healthcheck=HealthConfig(test=["NONE"]))
    if word.upper() != "CMD":
        raise InvalidArgument(
            f"Unknown type {word.upper()!r} in HEALTHCHECK (try CMD)"
            if word
            else "HEALTHCHECK requires at least one argument"
        )
    command = rest.strip()
    if not command:
        raise InvalidArgument("Missing command after HEALTHCHECK CMD")
    listed = _json_list(command)
    test = ["CMD-SHELL", command] if listed is None else ["CMD", *listed]
    return msgspec.structs.replace(config, healthcheck=HealthConfig(test=test, **fields))


def _duration(name: str, text: str) -> int:
    """Read a time as Go's time.ParseDuration does (`1m30s`); give nanoseconds."""
    if not _DURATION.fullmatch(text):
        raise InvalidArgument(f'invalid duration "{text}" for HEALTHCHECK --{name}')
    parts = _DURATION_PART.findall(text)
    total = round(sum(float(number) * _DURATION_UNITS[unit] for number, unit in parts))
    if total and not LEAST_DURATION <= total < 1 << 63:
        raise InvalidArgument(f"HEALTHCHECK --{name} cannot be less than 1ms")
    return total


def _retries(_: str, text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) < 1 << 31:
        raise InvalidArgument(f"--retries must be at least 1 (not {text})")
    return int(text)


_HEALTH_FLAGS: dict[str, tuple[str, Callable[[str, str], int]]] = {
    "interval": ("interval", _duration),
    "timeout": ("timeout", _duration),
    "start-period": ("start_period", _duration),
    "start-interval": ("start_interval", _duration),
    "retries": ("retries", _retries),
}


def _onbuild(config: Config, text: str) -> Config:
    trigger = text.split(maxsplit=1)[0].upper()
    if trigger == "ONBUILD":
        raise InvalidArgument("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")
    if trigger in ("MAINTAINER", "FROM"):
        raise InvalidArgument(f"{trigger} isn't allowed as an ONBUILD trigger")
    return msgspec.structs.replace(config, on_build=[*config.on_build, text])


def _stop_signal(config: Config, text: str) -> Config:
    name = _expand(config, text)
    if not _SIGNAL.fullmatch(name.upper()):
        raise InvalidArgument(f"Invalid signal: {name}")
    return msgspec.structs.replace(config, stop_signal=name)


def _user(config: Config, text: str) -> Config:
    return msgspec.structs.replace(config, user=_expand(config, text))


def _volume(config: Config, text: str) -> Config:
    listed = _json_list(text)
    paths = [_expand(config, path) for path in (_words(text) if listed is None else listed)]
    if not all(path.strip() for path in paths):
        raise InvalidArgument("VOLUME specified can not be an empty string")
    volumes = {**config.volumes, **{path: {} for path in paths}}
    return msgspec.structs.replace(config, volumes=volumes)


def _workdir(config: Config, text: str) -> Config:
    (path,) = _words(text)[:1] if text[:1] in "'\"" else (text,)
    joined = posixpath.join("/", config.working_dir, _expand(config, path))
    return msgspec.structs.replace(config, working_dir=posixpath.normpath(joined))


_INSTRUCTIONS: dict[str, Callable[[Config, str], Config]] = {
    "CMD": _cmd,
    "ENTRYPOINT": _entrypoint,
    "ENV": _env,
    "EXPOSE": _expose,
    "HEALTHCHECK": _healthcheck,
    "LABEL": _label,
    "ONBUILD": _onbuild,
    "STOPSIGNAL": _stop_signal,
    "USER": _user,
    "VOLUME": _volume,
    "WORKDIR": _workdir,
}
