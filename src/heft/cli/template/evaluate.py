"""Executing templates."""

from __future__ import annotations

from heft.cli.failures import Failure
from heft.cli.template.functions import FUNCTIONS, FunctionError, shown, truth
from heft.cli.template.parser import Branch, Call, Chain, Literal, Node, Pipeline, Text, Variable
from heft.cli.template.parser import parse as parse_nodes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

BROKEN_TEMPLATE = 64
ESCAPES = {r"\t": "\t", r"\n": "\n"}
"""What Docker's clients put in for these in formats, since shells make them hard to type."""


class Template:
    """A template, read once and executed as often as there are things to show."""

    def __init__(self, text: str, functions: Mapping[str, Callable[..., Any]] = FUNCTIONS) -> None:
        for typed, meant in ESCAPES.items():
            text = text.replace(typed, meant)
        self._nodes = parse_nodes(text)
        self._functions = functions

    def render(self, value: Any) -> str:
        """Give the text for a value. Raises `Failure`, which names the field that is not there."""
        run = _Run(value, self._functions)
        run.block(self._nodes, value)
        return "".join(run.output)


def of_one(form: str) -> Template:
    """Read the format of a command that shows things one by one, `json` included.

    Raises `Failure` for a template that is broken, with the status that Docker's ends with then.
    """
    try:
        return Template("{{json .}}" if form == "json" else form)
    except Failure as error:
        reason = error.message.removeprefix("failed to parse template: ")
        raise Failure(f"template parsing error: {reason}", BROKEN_TEMPLATE) from None


class _Run:
    def __init__(self, root: Any, functions: Mapping[str, Callable[..., Any]]) -> None:
        self.output: list[str] = []
        self._functions = functions
        self._variables: dict[str, Any] = {"$": root}

    def block(self, nodes: Sequence[Node], dot: Any) -> None:
        for node in nodes:
            if isinstance(node, Text):
                self.output.append(node.text)
            elif isinstance(node, Branch):
                self._branch(node, dot)
            else:
                value = self._value(node, dot)
                if not (isinstance(node, Pipeline) and node.declares):
                    self.output.append(shown(value))

    def _branch(self, branch: Branch, dot: Any) -> None:
        before = dict(self._variables)
        value = self._value(branch.pipeline, dot)
        if branch.kind == "range":
            self._range(branch, value, dot)
        elif truth(value):
            self.block(branch.body, value if branch.kind == "with" else dot)
        else:
            self.block(branch.otherwise, dot)
        # Variables of a block are gone behind it; those from outside keep what it gave them.
        self._variables = {name: self._variables[name] for name in before}

    def _range(self, branch: Branch, value: Any, dot: Any) -> None:
        if isinstance(value, dict):
            items: list[tuple[Any, Any]] = sorted(value.items())
        elif isinstance(value, (list, tuple)):
            items = list(enumerate(value))
        elif isinstance(value, int) and not isinstance(value, bool):
            items = [(number, number) for number in range(value)]
        elif value is None:
            items = []
        else:
            raise _failed("range", f"range can't iterate over {shown(value)}")
        names = branch.pipeline.declares
        for key, item in items:
            if names:
                self._variables[names[-1]] = item
            if len(names) > 1:
                self._variables[names[0]] = key
            self.block(branch.body, item)
        if not items:
            self.block(branch.otherwise, dot)

    def _value(self, node: Node, dot: Any) -> Any:
        if isinstance(node, Literal):
            return node.value
        if isinstance(node, Variable):
            if node.name not in self._variables:
                raise _failed(node.name, "undefined variable")
            return self._variables[node.name]
        if isinstance(node, Pipeline):
            return self._pipeline(node, dot)
        if isinstance(node, Call):
            return self._call(node, dot, ())
        assert isinstance(node, Chain)
        return self._chain(node, dot, ())

    def _pipeline(self, pipeline: Pipeline, dot: Any) -> Any:
        value = self._value(pipeline.commands[0], dot)
        for command in pipeline.commands[1:]:
            if isinstance(command, Call):
                value = self._call(command, dot, (value,))
            elif isinstance(command, Chain):
                value = self._chain(command, dot, (value,))
            else:
                raise _failed("|", "non executable command in pipeline")
        for name in pipeline.declares:
            self._variables[name] = value
        return value

    def _call(self, call: Call, dot: Any, last: tuple[Any, ...]) -> Any:
        arguments = (*(self._value(each, dot) for each in call.arguments), *last)
        if isinstance(call.function, Chain):
            return self._chain(call.function, dot, arguments)
        if not isinstance(call.function, str):
            raise _failed("", "can't give argument to non-function")
        name = call.function
        if name not in self._functions:
            raise Failure(f'failed to parse template: template: :1: function "{name}" not defined')
        try:
            return self._functions[name](*arguments)
        except FunctionError as error:
            raise _failed(name, f"error calling {name}: {error}") from None
        except (TypeError, AttributeError, ValueError, IndexError):
            raise _failed(
                name, f"error calling {name}: wrong number or kind of arguments"
            ) from None

    def _chain(self, chain: Chain, dot: Any, arguments: tuple[Any, ...]) -> Any:
        value = dot if chain.base is None else self._value(chain.base, dot)
        path = ""
        for number, field in enumerate(chain.fields):
            path += f".{field}"
            value = _field(value, field, path)
            if callable(value):
                given = arguments if number == len(chain.fields) - 1 else ()
                try:
                    return value(*given)
                except TypeError:
                    raise _failed(path, f"wrong number of args for {field}") from None
        if arguments:
            raise _failed(path, f"{path[1:]} has arguments but cannot be invoked as function")
        return value


def _field(value: Any, field: str, path: str) -> Any:
    if value is None:
        raise _failed(path, f"nil pointer evaluating interface {{}}.{field}")
    if not isinstance(value, dict):
        kind = {str: "string", bool: "bool", int: "int", list: "slice"}.get(type(value), "value")
        raise _failed(path, f"can't evaluate field {field} in type {kind}")
    if field not in value:
        raise _failed(path, f'map has no entry for key "{field}"')
    return value[field]


def _failed(where: str, why: str) -> Failure:
    return Failure(f'template parsing error: template: :1: executing "" at <{where}>: {why}')
