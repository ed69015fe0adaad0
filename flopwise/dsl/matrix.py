"""The matrix of a table: a row for each combination of the labels of its axes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from math import prod

from flopwise.dsl.checker import Checker
from flopwise.dsl.merge import Change
from flopwise.dsl.rows import Row, read_changes, refuse_dots, too_many
from flopwise.dsl.shipped import MAX_ROWS
from flopwise.dsl.tables import ROW
from flopwise.dsl.tree import Items, Node, Scalar, Section
from flopwise.dsl.values import Rule
from flopwise.errors import Place, nearest

__all__ = ["read_matrix"]

LABEL = {name: ROW[name] for name in ("set", "spec", "note")}


@dataclass(frozen=True, slots=True)
class _Label:
    """What one label of an axis changes, and where it stands."""

    place: Place
    start: Scalar | None
    changes: tuple[Change, ...]


Axes = Mapping[str, Mapping[str, _Label]]


def read_matrix(
    matrix: Section, place: Place, rows: dict[str, Row], convention: str, checker: Checker
) -> None:
    """Adds the rows of a matrix to those that are written out; each starts from the spec itself.

    Args:
        matrix: The section.
        place: Where its key stands.
        rows: The rows so far.
        convention: How MACs are counted.
        checker: Collects the faults.
    """
    axes = dict(_axes(matrix, checker))
    count = prod(len(labels) for labels in axes.values()) + len(rows)
    if count > MAX_ROWS:
        too_many(checker, count, place)
    excluded = _excluded(matrix.entries.get("exclude"), axes, checker)
    if checker.faults or not axes:
        return
    for point in product(*axes.values()):
        chosen = dict(zip(axes, point, strict=True))
        if any(each.items() <= chosen.items() for each in excluded):
            continue
        labels = [axes[axis][label] for axis, label in chosen.items()]
        row = _row("-".join(point), labels, convention, checker)
        if row and row.name in rows:
            fact = f"the matrix makes a row '{row.name}', but there is one of this name already"
            also = ((rows[row.name].place, "the other one"),)
            checker.fault("E412", fact, row.place, "rename a label or the row", also=also)
        elif row:
            rows[row.name] = row


def _axes(matrix: Section, checker: Checker) -> Iterator[tuple[str, dict[str, _Label]]]:
    for axis, node in matrix.entries.items():
        if axis == "exclude":
            continue
        rule = Rule(name=axis, type="map", example=f"{axis}: {{k5: {{set: {{k: 5}}}}}}")
        section = checker.section(node, rule)
        if section and not section.entries:
            fact = f"axis '{axis}' has no labels"
            checker.fault("E106", fact, matrix.keys[axis], "add  k5: {set: {k: 5}}")
        yield axis, dict(_labels(axis, section, checker)) if section else {}


def _labels(axis: str, section: Section, checker: Checker) -> Iterator[tuple[str, _Label]]:
    for label, node in section.entries.items():
        place = section.keys[label]
        refuse_dots("label", label, place, checker)
        rule = Rule(name=label, type="map", example=f"{label}: {{set: {{k: 5}}}}")
        if below := checker.section(node, rule):
            checker.literals(below, LABEL, f"'{label}' of axis '{axis}'", place)
            start = below.entries.get("spec")
            start = start if isinstance(start, Scalar) else None
            yield label, _Label(place, start, read_changes(below, checker))


def _excluded(node: Node | None, axes: Axes, checker: Checker) -> list[dict[str, str]]:
    """Returns the combinations that `exclude` names."""
    if node is not None and not isinstance(node, Items):
        fact = "'exclude' is a list of combinations"
        checker.fault("E201", fact, node.place, "write  exclude: [{axis: label}]")
    items = node.items if isinstance(node, Items) else ()
    return [dict(_combination(item, axes, checker)) for item in items]


def _combination(item: Node, axes: Axes, checker: Checker) -> Iterator[tuple[str, str]]:
    if not isinstance(item, Section) or not item.entries:
        fact = "an entry of 'exclude' is a map from axes to labels"
        checker.fault("E201", fact, item.place, "write  {axis: label}")
        return
    for axis, node in item.entries.items():
        label = str(node.value) if isinstance(node, Scalar) else ""
        if axis not in axes:
            _not_there(checker, f"'{axis}', but there is no such axis", axis, axes, item.keys[axis])
        elif label not in axes[axis] and axes[axis]:  # an axis without labels is a fault itself
            fact = f"'{label}', but axis '{axis}' has no such label"
            _not_there(checker, fact, label, axes[axis], node.place)
        elif axes[axis]:
            yield axis, label


def _not_there(
    checker: Checker, fact: str, name: str, known: Mapping[str, object], place: Place
) -> None:
    near = nearest(name, known)
    helps = (f"did you mean '{near}'?",) if near else ()
    note = f"there are: {', '.join(known)}"
    checker.fault("E413", f"'exclude' names {fact}", place, *helps, note=note)


def _row(name: str, labels: list[_Label], convention: str, checker: Checker) -> Row | None:
    """Returns the row of one combination of labels."""
    starts = [label.start for label in labels if label.start]
    if len(starts) > 1:
        fact = f"two axes give row '{name}' a 'spec' to start from"
        also = ((starts[0].place, "the other one"),)
        checker.fault("E415", fact, starts[1].place, "keep one of them", also=also)
        return None
    return Row(
        name=name,
        place=labels[-1].place,
        start=starts[0] if starts else None,
        changes=tuple(change for label in labels for change in label.changes),
        convention=convention,
    )
