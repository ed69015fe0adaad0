"""The order of the rooms: imports point down, and the lower rooms know nothing of the world."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import flopwise

PACKAGE = Path(flopwise.__file__).parent
ROOMS = (  # from top to bottom
    "__main__",
    "cli",
    "testing",
    "design",
    "report",
    "table",
    "search",
    "export",
    "train",
    "nets",
    "spaces",
    "dsl",
    "cost",
    "blocks",
    "errors",
    "aliases",
)
WORLDLY = frozenset({"torch", "torchvision", "timm", "optuna", "pandas"})
REFUSED = {
    "blocks": WORLDLY | {"yaml"},
    "cost": WORLDLY,
    "dsl": WORLDLY,
    "errors": WORLDLY | {"yaml"},
    "spaces": WORLDLY,
}
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")
NAMES = [path.relative_to(PACKAGE).as_posix() for path in MODULES]


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yields (line, dotted name) of every import, at the top or inside a function."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports name the whole path"
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            name = node.args[0]
            if isinstance(name, ast.JoinedStr):  # f"flopwise.room.{module}": the room is known
                name = name.values[0]
            assert isinstance(name, ast.Constant), f"line {node.lineno}: a module without a name"
            yield node.lineno, str(name.value)


def made(tree: ast.Module) -> set[str]:
    """Returns the functions and classes a module makes and does not mark private."""
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    return {n.name for n in tree.body if isinstance(n, kinds) and not n.name.startswith("_")}


def assigned(tree: ast.Module) -> set[str]:
    """Returns the constants and aliases a module makes."""
    nodes = [n for n in tree.body if isinstance(n, ast.Assign | ast.AnnAssign)]
    targets = [t for n in nodes for t in (n.targets if isinstance(n, ast.Assign) else [n.target])]
    return {leaf.id for t in targets for leaf in ast.walk(t) if isinstance(leaf, ast.Name)}


def exported(tree: ast.Module) -> list[str] | None:
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return list(ast.literal_eval(node.value))
    return None


@pytest.mark.parametrize("path", MODULES, ids=NAMES)
def test_imports_point_down(path: Path) -> None:
    here = ROOMS.index(room_of(path))
    for line, name in imported(ast.parse(path.read_text())):
        if not name.startswith("flopwise.") or name == "flopwise.__version__":
            continue
        there = name.split(".")[1]
        assert there in ROOMS, f"{path}:{line}: import from the room, not from the front door"
        assert ROOMS.index(there) >= here, f"{path}:{line}: {there} stands above {ROOMS[here]}"


@pytest.mark.parametrize("path", MODULES, ids=NAMES)
def test_lower_rooms_name_nothing_of_the_world(path: Path) -> None:
    refused = REFUSED.get(room_of(path), frozenset())
    for line, name in imported(ast.parse(path.read_text())):
        assert name.split(".")[0] not in refused, f"{path}:{line}: {name}"


@pytest.mark.parametrize("path", MODULES, ids=NAMES)
def test_all_lists_exactly_the_public_names(path: Path) -> None:
    tree = ast.parse(path.read_text())
    if path.name == "__main__.py":  # runs, and is never imported
        return
    listed = exported(tree)
    assert listed is not None, f"{path} has no __all__"
    brought = {name.rpartition(".")[2] for _, name in imported(tree)}
    unknown = set(listed) - made(tree) - assigned(tree) - brought
    missing = made(tree) - set(listed)
    assert not unknown, f"{path} lists what it does not have: {sorted(unknown)}"
    assert not missing, f"{path} neither lists nor marks as private: {sorted(missing)}"


def test_optuna_lives_in_search_and_nowhere_else() -> None:
    homes = {
        room_of(path)
        for path in MODULES
        for _, name in imported(ast.parse(path.read_text()))
        if name.split(".")[0] == "optuna"
    }
    assert homes <= {"search"}


def test_every_room_is_in_the_order() -> None:
    assert {room_of(path) for path in MODULES} <= set(ROOMS)


def test_public_names_stay_functions_after_their_rooms_were_imported() -> None:
    import flopwise.export
    import flopwise.search

    assert "flopwise.search" in sys.modules
    assert callable(flopwise.search) and callable(flopwise.export)
    assert all(getattr(flopwise, name) for name in flopwise.__all__)
