"""From tokens to what is to be done: a tree of small nodes."""

from __future__ import annotations

from heft.cli.template.lexer import FIELD, MARK, NUMBER, STRING, TEXT, VARIABLE, WORD, bad, pieces

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from heft.cli.template.lexer import Action, Token

LITERALS = {"true": True, "false": False, "nil": None}
DEEPEST = 100


class Node:
    """A part of a template."""

    __slots__ = ()


class Text(Node):
    """Plain text."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text


class Literal(Node):
    """A constant."""

    __slots__ = ("value",)

    def __init__(self, value: object) -> None:
        self.value = value


class Chain(Node):
    """Fields of something: `.A.B`, `$x.A`, `(…).A`; `base` None is the dot."""

    __slots__ = ("base", "fields")

    def __init__(self, base: Node | None, fields: list[str]) -> None:
        self.base = base
        self.fields = fields


class Variable(Node):
    """A variable's value."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name


class Call(Node):
    """A function, or a field that is one, and its arguments."""

    __slots__ = ("arguments", "function")

    def __init__(self, function: str | Node, arguments: list[Node]) -> None:
        self.function = function
        self.arguments = arguments


class Pipeline(Node):
    """Commands, each of which gets the value of the one before as its last argument.

    With `declares`, the value becomes those variables' and nothing is printed.
    """

    __slots__ = ("commands", "declares")

    def __init__(self, commands: list[Node], declares: list[str]) -> None:
        self.commands = commands
        self.declares = declares


class Branch(Node):
    """`if`, `with` or `range`: what is done, and what is done instead."""

    __slots__ = ("body", "kind", "otherwise", "pipeline")

    def __init__(self, kind: str, pipeline: Pipeline) -> None:
        self.kind = kind
        self.pipeline = pipeline
        self.body: list[Node] = []
        self.otherwise: list[Node] = []


def parse(template: str) -> list[Node]:
    """Give a template's nodes. Raises `Failure`."""
    return _Blocks(pieces(template)).top()


class _Blocks:
    """Puts texts and actions into the blocks they belong to."""

    def __init__(self, stream: Iterator[Token | Action]) -> None:
        self._stream = stream
        self._depth = 0

    def top(self) -> list[Node]:
        nodes, ended = self._nodes()
        if ended is not None:
            raise bad(f"unexpected {{{{{ended[0].value}}}}}")
        return nodes

    def _nodes(self) -> tuple[list[Node], Action | None]:
        """Give nodes up to an `end` or `else`, and that; None at the template's end."""
        nodes: list[Node] = []
        for piece in self._stream:
            if not isinstance(piece, list):
                nodes.append(Text(piece.value))
            elif not piece:
                raise bad("missing value for command")
            elif piece[0].kind == WORD and piece[0].value in ("end", "else"):
                return nodes, piece
            elif piece[0].kind == WORD and piece[0].value in ("if", "with", "range"):
                nodes.append(self._branch(piece))
            else:
                nodes.append(_Expressions(piece).pipeline())
        return nodes, None

    def _branch(self, action: Action) -> Branch:
        self._depth += 1
        if self._depth > DEEPEST:
            raise bad("too many blocks in each other")
        branch = Branch(action[0].value, _Expressions(action[1:]).pipeline())
        branch.body, ended = self._nodes()
        if ended is not None and ended[0].value == "else":
            if len(ended) > 1:
                # `else if` is an `if` within the `else`, that ends with it.
                branch.otherwise, ended = [self._branch(ended[1:])], ended[:1]
                ended[0].value = "end"
            else:
                branch.otherwise, ended = self._nodes()
        if ended is None or ended[0].value != "end":
            raise bad("unexpected EOF")
        self._depth -= 1
        return branch


class _Expressions:
    """Reads one action."""

    def __init__(self, tokens: Action) -> None:
        self._tokens = tokens
        self._at = 0
        self._depth = 0

    def pipeline(self) -> Pipeline:
        pipeline = self._pipeline()
        if self._at < len(self._tokens):
            raise bad(f"unexpected {self._tokens[self._at].value!r} in operand")
        return pipeline

    def _next(self, *values: str) -> bool:
        """Take a mark, if one of these is next."""
        if self._at < len(self._tokens):
            token = self._tokens[self._at]
            if token.kind == MARK and token.value in values:
                self._at += 1
                return True
        return False

    def _pipeline(self) -> Pipeline:
        declares = self._declared()
        commands = [self._command()]
        while self._next("|"):
            commands.append(self._command())
        return Pipeline(commands, declares)

    def _declared(self) -> list[str]:
        """Take `$x :=` or `$i, $x :=`, if that is next."""
        names, start = [], self._at
        while self._at < len(self._tokens) and self._tokens[self._at].kind == VARIABLE:
            names.append(self._tokens[self._at].value)
            self._at += 1
            if self._next(":=", "="):
                return names
            if not self._next(","):
                break
        self._at = start
        return []

    def _command(self) -> Node:
        operands: list[Node | str] = []
        while self._at < len(self._tokens):
            token = self._tokens[self._at]
            if token.kind == MARK and token.value in ("|", ")"):
                break
            operands.append(self._operand())
        if not operands:
            raise bad("missing value for command")
        first, *arguments = operands
        nodes = [Call(each, []) if isinstance(each, str) else each for each in arguments]
        if isinstance(first, str) or nodes:
            return Call(first, nodes)
        return first

    def _operand(self) -> Node | str:
        """Give an operand; a function's name as text."""
        token = self._tokens[self._at]
        self._at += 1
        if token.kind == STRING:
            return Literal(token.value)
        if token.kind == NUMBER:
            return Literal(float(token.value) if "." in token.value else int(token.value))
        if token.kind == FIELD:
            return Chain(None, [token.value[1:], *self._fields()])
        if token.kind == VARIABLE:
            return self._chained(Variable(token.value))
        if token.kind == WORD:
            if token.value in LITERALS:
                return Literal(LITERALS[token.value])
            return token.value
        if token.value == ".":
            return Chain(None, [])
        if token.value == "(":
            return self._parenthesised()
        raise bad(f"unexpected {token.value!r} in operand")

    def _parenthesised(self) -> Node:
        self._depth += 1
        if self._depth > DEEPEST:
            raise bad("too many parentheses in each other")
        inner = self._pipeline()
        if not self._next(")"):
            raise bad("unclosed left paren")
        self._depth -= 1
        return self._chained(inner)

    def _chained(self, base: Node) -> Node:
        fields = self._fields()
        return Chain(base, fields) if fields else base

    def _fields(self) -> list[str]:
        """Take the fields that follow without a space."""
        fields = []
        while self._at < len(self._tokens):
            token = self._tokens[self._at]
            if token.kind != FIELD or token.spaced:
                break
            fields.append(token.value[1:])
            self._at += 1
        return fields


__all__ = [
    "TEXT",
    "Branch",
    "Call",
    "Chain",
    "Literal",
    "Node",
    "Pipeline",
    "Text",
    "Variable",
    "parse",
]
