"""Flags as Docker's client reads them (github.com/spf13/pflag): tables of them, and their parser.

`--name value`, `--name=value`, `-n value`, `-nvalue`, `-n=value`; switches can be joined (`-it`)
and take a value only behind `=`; `--` ends the flags. A table is data: help is drawn from it.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

TRUE = frozenset(("1", "t", "T", "TRUE", "true", "True"))
FALSE = frozenset(("0", "f", "F", "FALSE", "false", "False"))


class FlagError(Exception):
    """A flag that does not exist, or a value that it does not take."""


class HelpWanted(Exception):
    """`--help` was given."""


def text(given: str) -> str:
    """Read any text."""
    return given


def integer(given: str) -> int:
    """Read a whole number. Raises `ValueError` in the words of Go's strconv."""
    try:
        return int(given, 0) if given.strip() == given else int("")
    except ValueError:
        raise ValueError(f'strconv.ParseInt: parsing "{given}": invalid syntax') from None


def truth(given: str) -> bool:
    """Read a switch's value. Raises `ValueError`."""
    if given in TRUE:
        return True
    if given in FALSE:
        return False
    raise ValueError(f'strconv.ParseBool: parsing "{given}": invalid syntax')


class Flag:
    """One flag. Without a `kind` it is a switch; `kind` is what help calls its value.

    `read` makes the value of the text, and raises `ValueError` for text it does not take; a flag
    with `many` can be given several times. `shown` is its default as help shows it.
    """

    __slots__ = ("about", "aliases", "default", "kind", "many", "name", "read", "short", "shown")

    def __init__(
        self,
        name: str,
        about: str,
        *,
        short: str = "",
        kind: str = "",
        read: Callable[[str], Any] | None = None,
        many: bool = False,
        default: Any = None,
        shown: str = "",
        aliases: tuple[str, ...] = (),
    ) -> None:
        self.name = name
        self.about = about
        self.short = short
        self.kind = kind
        self.read = read or (text if kind else truth)
        self.many = many
        self.default = default
        self.shown = shown
        self.aliases = aliases

    @property
    def title(self) -> str:
        """Give how errors name it: `-m, --memory`."""
        return f"-{self.short}, --{self.name}" if self.short else f"--{self.name}"


def switch(name: str, about: str, short: str = "", *, default: bool = False) -> Flag:
    """Make a flag that is on or off."""
    return Flag(name, about, short=short, default=default, shown="true" if default else "")


def word(
    name: str, about: str, short: str = "", *, default: str = "", kind: str = "string"
) -> Flag:
    """Make a flag with a text."""
    shown = f'"{default}"' if default else ""
    return Flag(name, about, short=short, kind=kind, default=default, shown=shown)


def number(
    name: str,
    about: str,
    short: str = "",
    *,
    default: int | None = None,
    aliases: tuple[str, ...] = (),
) -> Flag:
    """Make a flag with a whole number."""
    shown = str(default) if default is not None else ""
    return Flag(
        name,
        about,
        short=short,
        kind="int",
        read=integer,
        default=default,
        shown=shown,
        aliases=aliases,
    )


def words(
    name: str,
    about: str,
    short: str = "",
    *,
    kind: str = "list",
    read: Callable[[str], Any] | None = None,
    aliases: tuple[str, ...] = (),
) -> Flag:
    """Make a flag that can be given several times."""
    return Flag(name, about, short=short, kind=kind, read=read, many=True, aliases=aliases)


class Given:
    """The values of flags, by name; what was not given has its default."""

    __slots__ = ("_defaults", "_values")

    def __init__(self, flags: Iterable[Flag]) -> None:
        self._defaults = {flag.name: flag.default for flag in flags}
        self._values: dict[str, Any] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def set(self, flag: Flag, value: Any) -> None:
        """Take a value."""
        if flag.many:
            self._values.setdefault(flag.name, []).append(value)
        else:
            self._values[flag.name] = value

    def value(self, name: str) -> Any:
        """Give the value of a flag of any kind; None where it has no default."""
        return self._values.get(name, self._defaults[name])

    def on(self, name: str) -> bool:
        """Say whether a switch is on."""
        return bool(self.value(name))

    def text(self, name: str) -> str:
        """Give a text; empty by default."""
        return str(self.value(name) or "")

    def number(self, name: str) -> int | None:
        """Give a number."""
        value = self.value(name)
        return None if value is None else int(value)

    def list(self, name: str) -> list[Any]:
        """Give all values of a flag that can be given several times."""
        return list(self.value(name) or ())


class _Parser:
    def __init__(self, flags: Sequence[Flag]) -> None:
        self.given = Given(flags)
        self._long = {name: flag for flag in flags for name in (flag.name, *flag.aliases)}
        self._short = {flag.short: flag for flag in flags if flag.short}

    def long(self, argument: str, rest: list[str]) -> None:
        name, equals, value = argument.partition("=")
        flag = self._long.get(name)
        if flag is None:
            if name == "help":
                raise HelpWanted
            raise FlagError(f"unknown flag: --{name}")
        if not equals:
            if not flag.kind:
                value = "true"
            elif rest:
                value = rest.pop()
            else:
                raise FlagError(f"flag needs an argument: --{name}")
        self._set(flag, value)

    def joined(self, letters: str, rest: list[str]) -> None:
        while letters:
            flag = self._short.get(letters[0])
            if flag is None:
                if letters[0] == "h":
                    raise HelpWanted
                raise FlagError(f"unknown shorthand flag: '{letters[0]}' in -{letters}")
            behind = letters[1:]
            if behind.startswith("="):
                return self._set(flag, behind[1:])
            if flag.kind:
                if not behind and not rest:
                    raise FlagError(f"flag needs an argument: '{letters}' in -{letters}")
                return self._set(flag, behind or rest.pop())
            self._set(flag, "true")
            letters = behind
        return None

    def _set(self, flag: Flag, value: str) -> None:
        try:
            self.given.set(flag, flag.read(value))
        except ValueError as error:
            raise FlagError(
                f'invalid argument "{value}" for "{flag.title}" flag: {error}'
            ) from None


def parse(
    flags: Sequence[Flag], arguments: Sequence[str], *, interspersed: bool = True
) -> tuple[Given, list[str]]:
    """Read flags; give their values, and the arguments that are none.

    Where flags are not `interspersed`, the first argument that is none ends them. Raises
    `FlagError` and `HelpWanted`.
    """
    parser = _Parser(flags)
    rest = list(reversed(arguments))
    others: list[str] = []
    while rest:
        argument = rest.pop()
        if argument == "--":
            break
        if argument.startswith("--"):
            parser.long(argument[2:], rest)
        elif argument.startswith("-") and argument != "-":
            parser.joined(argument[1:], rest)
        else:
            others.append(argument)
            if not interspersed:
                break
    others.extend(reversed(rest))
    return parser.given, others
