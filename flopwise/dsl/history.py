"""How a spec came to say what it says: every place that set a value, in order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from flopwise.dsl.figures import written
from flopwise.dsl.files import File
from flopwise.dsl.merge import Change, apply_changes, merges, read_sets
from flopwise.dsl.origin import Origin, RowPast
from flopwise.dsl.paths import keys_in, parts_of
from flopwise.dsl.presets import beneath, preset_of, recipe_of
from flopwise.dsl.rows import Trees
from flopwise.dsl.tree import Node, Scalar, Section
from flopwise.errors import Place

__all__ = ["SET", "Layer", "Step", "layers_of", "leaves_of", "node_at", "spelt", "steps_to"]

SET = "--set"


@dataclass(frozen=True, slots=True)
class Layer:
    """A spec at one point of its history.

    Attributes:
        tree: What it says there.
        who: What brought it there, such as `row 'wide'` or `--set`; empty for a file.
        root: The text of a file, or what a row or `--set` changed.
    """

    tree: Section
    who: str
    root: Section | tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """One place that set a value.

    Attributes:
        place: Where it stands.
        text: What stands there; empty where the value was taken away.
        who: What brought it, such as `row 'wide'`; empty for a file.
    """

    place: Place
    text: str
    who: str


def layers_of(origin: Origin) -> list[Layer]:
    """Returns a spec after each file, row and `--set` that made it, in order."""
    layers = list(_file_layers(origin.files))
    if origin.row and origin.trees:
        layers += _row_layers(origin.trees, origin.row.name)
    tree = origin.tree
    for change in read_sets(origin.sets):
        tree = apply_changes(tree, [change])
        layers.append(Layer(tree, SET, (change,)))
    name = preset_of(origin.changed())
    return list(_over(recipe_of(name), name, layers)) if name else layers


def _over(recipe: Section, name: str, layers: Sequence[Layer]) -> Iterator[Layer]:
    """Yields what a recipe says, then what everything laid over it makes of it."""
    nothing = Section({}, {}, recipe.place)
    yield Layer(beneath(nothing, recipe), f"preset '{name}'", nothing)
    for layer in layers:
        yield replace(layer, tree=beneath(layer.tree, recipe))


def _file_layers(files: Sequence[File]) -> Iterator[Layer]:
    """Yields what the eldest file says, then what each further one makes of it."""
    past = files[-1].past
    for tree, file in zip(merges(files), reversed(files), strict=True):
        if file is files[-1] and isinstance(past, RowPast):
            yield from _file_layers(past.files)
            yield from _row_layers(past.trees, past.name)
        else:
            yield Layer(tree, "", file.tree)


def _row_layers(trees: Trees, name: str) -> Iterator[Layer]:
    """Yields what each row of a chain makes of the spec it starts from."""
    for row in trees.chain(name):
        yield Layer(trees.row(row.name)[1], f"row '{row.name}'", row.changes)


def steps_to(path: str, layers: Sequence[Layer]) -> list[Step]:
    """Returns every place that set, or took away, the value at a path."""
    steps: list[Step] = []
    before: Node | None = None
    for layer in layers:
        node, place = _at(layer.tree, path)
        if node is before:
            continue
        before = node
        if node is not None and place is not None:
            steps.append(Step(node.place, spelt(node), layer.who))
        elif steps and (place := _taken(layer, path)):
            steps.append(Step(place, "", layer.who))
    return steps


def leaves_of(path: str, tree: Section) -> list[str]:
    """Returns the paths below a map, or the path itself where it is none."""
    node, _ = _at(tree, path)
    if not isinstance(node, Section):
        return [path]
    return [leaf for name in node.entries for leaf in leaves_of(f"{path}.{name}", tree)]


def node_at(path: str, tree: Section) -> Node | None:
    """Returns what stands at a path of a merged tree."""
    return _at(tree, path)[0]


def spelt(node: Node) -> str:
    """Returns a value as it is written, as far as it stands on one line."""
    if isinstance(node, Scalar):
        return written(node)
    place = node.place
    line = place.text
    return line[place.column - 1 : place.column - 1 + place.width] if place.width > 1 else "..."


def _at(tree: Section, path: str) -> tuple[Node | None, Place | None]:
    """Returns the value at a place and where its key stands, if there is one."""
    node: Node = tree
    place: Place | None = None
    for part in keys_in(tree, path):
        if not isinstance(node, Section) or part not in node.entries:
            return None, None
        place = node.keys[part]
        node = node.entries[part]
    return node, place


def _taken(layer: Layer, path: str) -> Place | None:
    """Returns where a layer took a value away: by null, or by a new block for its stage."""
    if isinstance(layer.root, Section):
        return next((place for place in _above(layer.root, path)), None)
    parts, changed = parts_of(path), [(parts_of(each.path), each) for each in layer.root]
    near = [each for above, each in changed if parts[: len(above)] == above]
    return near[-1].place if near else None


def _above(tree: Section, path: str) -> Iterator[Place]:
    """Yields the places of the keys that lead to a value, the nearest first."""
    found: list[Place] = []
    node: Node = tree
    for part in keys_in(tree, path):
        if not isinstance(node, Section) or part not in node.entries:
            break
        found.append(node.keys[part])
        node = node.entries[part]
    yield from reversed(found)
