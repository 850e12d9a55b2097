"""The house: which room may import which, and how large a file may be.

`FLOORS` is the picture of docs/architecture.md, lowest first. Imports inside functions count too.
"""

import ast
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "skillrl"

FLOORS = (
    ("errors", "version"),
    ("io",),
    ("types", "net", "parallel", "extensions"),
    ("models", "teacher"),
    ("config",),
    ("envs", "skills", "inference"),
    ("agent",),
    ("rollouts", "training"),
    ("evaluation",),
    ("phases",),
    ("ablation",),
    ("preflight",),
    ("planning",),
    ("pipeline",),
    ("api",),
    ("learn",),
    ("cli",),
    ("__main__",),
)
"""Rooms and files of the top level; each may import those on lines before its own."""

FLOOR_OF = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}


def _modules() -> dict[str, Path]:
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = _modules()


def _imports(name: str, path: Path) -> set[str]:
    """Modules of the package that a module imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name in MODULES}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                found |= {full if full in MODULES else node.module} & MODULES.keys()
        elif isinstance(node, ast.ImportFrom):
            raise AssertionError(f"{name}: relative imports hide where things lie")
    return found - {name}


GRAPH = {name: _imports(name, path) for name, path in MODULES.items()}


def _room(name: str) -> str:
    return name.split(".")[1] if "." in name else name


def _circles(graph: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """Sets of nodes that reach each other (Tarjan's algorithm)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    circles = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in graph.get(node, ()):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            at = stack.index(node)
            if len(stack) - at > 1:
                circles.append(sorted(stack[at:]))
            del stack[at:]

    for node in graph:
        if node not in index:
            visit(node)
    return circles


def test_a_circle_would_be_found():
    assert _circles({"a": ["b"], "b": ["c"], "c": ["a"], "d": ["a"]}) == [["a", "b", "c"]]
    assert _circles({"a": ["b", "c"], "b": ["c"], "c": []}) == []


def test_every_room_has_its_floor():
    rooms = {_room(name) for name in MODULES} - {"skillrl"}
    assert rooms == set(FLOOR_OF)


@pytest.mark.parametrize("name", [name for name in GRAPH if name != "skillrl"])
def test_imports_go_down(name):
    room = _room(name)
    up = sorted(
        other
        for other in GRAPH[name]
        if other == "skillrl" or (_room(other) != room and FLOOR_OF[_room(other)] >= FLOOR_OF[room])
    )
    assert not up, f"{name} is on the floor of {room} and imports {', '.join(up)}"


def test_no_circle_between_files():
    assert _circles(GRAPH) == []


@pytest.mark.parametrize("name", MODULES)
def test_a_file_holds_one_idea(name):
    assert len(MODULES[name].read_text("utf-8").splitlines()) <= 500


def test_the_picture_in_the_docs_is_this_one():
    page = (PACKAGE.parent / "docs" / "architecture.md").read_text("utf-8")
    (picture,) = re.findall(r"\n\n((?:    [a-z].*\n)*    cli .*\n(?:    [a-z].*\n)*)\n", page)
    known = FLOOR_OF.keys() | {"__init__"}
    drawn = [
        tuple(word for word in line[:39].split() if word in known) for line in picture.splitlines()
    ]
    assert [set(rooms) for rooms in reversed(drawn)] == [
        set(rooms) for rooms in FLOORS if rooms != ("__main__",)
    ]
