"""Data flows one way: cli → api → engine → (images, networks, volumes, weights) → host."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "heft"

MODULE_LINES = 450
FUNCTION_LINES = 70
EMPTY_NAMES = {"utils", "util", "helpers", "helper", "common", "misc", "manager"}

GROUND = {"errors", "failures", "faults", "undo", "layout", "durations", ""}
"""Single modules that everything of the daemon stands on; the empty name is heft itself."""

MAY_IMPORT: dict[str, set[str]] = {
    "": set(),
    "errors": set(),
    "failures": {"errors"},
    "faults": set(),
    "undo": {"errors"},
    "layout": set(),
    "durations": set(),
    "model": {"errors", "model"},
    "host": GROUND | {"host"},
    "store": GROUND | {"model", "store"},
    "tars": {"tars"},
    "files": GROUND | {"host", "images", "model", "tars", "files"},
    "images": GROUND | {"host", "model", "store", "tars", "images"},
    "networks": GROUND | {"host", "model", "store", "networks"},
    "volumes": GROUND | {"host", "model", "store", "volumes"},
    "guest": GROUND | {"host", "images", "model", "tars", "guest", "weights"},
    "weights": GROUND | {"host", "model", "files", "guest", "weights"},
    "uppers": GROUND | {"host", "images", "model", "files", "guest", "uppers"},
    "engine": GROUND
    | {"host", "model", "store", "images", "networks", "volumes", "guest", "weights", "uppers"}
    | {"engine"},
    "api": GROUND | {"model", "images", "networks", "volumes", "weights", "engine", "api"},
    "daemon": GROUND | {"host", "networks", "engine", "api"},
    "cli": {"", "cli", "doctor", "durations", "tars"},
    "doctor": {"", "doctor"},
}
"""By package: what of heft its modules may import."""

THROUGH = {
    ("engine", "weights"): {"heft.weights.abilities", "heft.weights.base", "heft.weights.registry"},
    ("engine", "guest"): {"heft.guest.architectures", "heft.guest.kits"},
    ("engine", "uppers"): {"heft.uppers.carrying", "heft.uppers.mending"},
    ("uppers", "files"): {"heft.files.place"},
    ("uppers", "guest"): {"heft.guest.disks"},
    ("uppers", "images"): {"heft.images.verdict"},
    ("guest", "images"): {"heft.images.compression", "heft.images.decompression"},
    ("guest", "weights"): {"heft.weights.abilities", "heft.weights.base"},
    ("api", "weights"): {"heft.weights.abilities", "heft.weights.base"},
    ("cli", "doctor"): {"heft.doctor"},
}
"""Where a package may see of another these modules only."""


def modules() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def dotted(path: Path) -> str:
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = frozenset(map(dotted, modules()))


def part(name: str) -> str:
    """Give the package directly under heft, or the module there, that a name is in."""
    return f"{name}.".split(".")[1]


def imports(path: Path) -> Iterator[str]:
    """Give the modules of heft that a file imports, anywhere in it, for types or to run."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (item.name for item in node.names if item.name.split(".")[0] == "heft")
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            if (node.module or "").split(".")[0] != "heft":
                continue
            for item in node.names:
                inner = f"{node.module}.{item.name}"
                yield inner if inner in NAMES else str(node.module)


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


each_module = pytest.mark.parametrize("path", modules(), ids=dotted)


@each_module
def test_imports_go_one_way(path):
    name = dotted(path)
    own = part(name)
    assert own in MAY_IMPORT, f"{own} has no place in the architecture: say in MAY_IMPORT which"
    for other in imports(path):
        assert part(other) in MAY_IMPORT[own], f"{name} imports {other}"
        seen = THROUGH.get((own, part(other)))
        assert seen is None or other in seen, f"{name} imports {other}, past {sorted(seen)}"


def test_weights_do_not_know_each_other():
    for path in (SOURCE / "weights").glob("*/**/*.py"):
        own = path.relative_to(SOURCE / "weights").parts[0]
        for other in imports(path):
            if part(other) == "weights" and other.count(".") > 1:
                assert other.split(".")[2] in (own, "base"), f"{dotted(path)} imports {other}"


def test_the_host_is_asked_by_one_package_only_about_processes():
    """One door for starting programs (weights start their monitors through it too)."""
    for path in modules():
        if part(dotted(path)) in ("cli", "doctor") or dotted(path) == "heft.host.processes":
            continue
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            name = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            assert name not in (
                "subprocess.run",
                "subprocess.Popen",
                "asyncio.create_subprocess_exec",
                "asyncio.create_subprocess_shell",
                "os.system",
            ), f"{dotted(path)}:{node.lineno} starts a program past heft.host.processes"


@each_module
def test_a_module_can_be_read_in_one_sitting(path):
    assert path.stem not in EMPTY_NAMES
    text = path.read_text()
    assert text.count("\n") <= MODULE_LINES
    long = [
        f"{node.name} ({length} lines)"
        for node in functions(ast.parse(text))
        if (length := (node.end_lineno or node.lineno) - node.lineno + 1) > FUNCTION_LINES
    ]
    assert not long


def test_no_module_imports_itself_in_a_circle():
    """At run time; imports for types alone (under TYPE_CHECKING, or in a function) close none."""
    graph = {dotted(path): set(_at_import(path)) - {dotted(path)} for path in modules()}
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " → ".join((*trail[trail.index(name) :], name))
        if name not in done:
            for other in graph.get(name, ()):
                visit(other, (*trail, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def _at_import(path: Path) -> Iterator[str]:
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            yield from (item.name for item in node.names if item.name in NAMES)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for item in node.names:
                inner = f"{node.module}.{item.name}"
                if inner in NAMES or node.module in NAMES:
                    yield inner if inner in NAMES else node.module


@each_module
def test_what_the_linter_is_not_to_say_has_a_reason(path):
    for line in path.read_text().splitlines():
        _, found, reason = line.partition("# noqa")
        assert not found or re.fullmatch(r": [A-Z]+[0-9]+ - \S.*", reason), line.strip()
