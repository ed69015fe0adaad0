"""Reading why a figure of a table is not what is counted: `explained` and `unresolved` of a row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from flopwise.dsl.checker import Checker
from flopwise.dsl.rows import MEASURED, Reason, Row, no_row
from flopwise.dsl.tables import REASON, ROW
from flopwise.dsl.tree import Section
from flopwise.dsl.values import Rule
from flopwise.errors import Place, nearest

__all__ = ["check_reasons", "read_reasons"]


def read_reasons(node: Section, checker: Checker) -> dict[str, Reason]:
    """Returns the reasons of a row by column."""
    found = dict(_explained(node, checker))
    for column, reason in _unresolved(node, checker):
        if column in found:
            fact = f"'{column}' is explained and unresolved at once"
            also = ((found[column].place, "explained here"),)
            checker.fault("E418", fact, reason.place, "keep one of them", also=also)
        found[column] = reason
    return found


def _explained(node: Section, checker: Checker) -> Iterator[tuple[str, Reason]]:
    for column, below, place in _entries(node, "explained", checker):
        rule = Rule(name=column, type="map", example=f"{column}: {{why: TEXT, printed: ROW}}")
        section = checker.section(below, rule)
        if section is None:
            continue
        facts = checker.literals(section, REASON, f"the reason of '{column}'", place)
        texts = {key: str(value) for key, value in facts.items()}
        if ("printed" in texts) == ("counted" in texts):
            many = "two rows" if "printed" in texts else "no row"
            fact = f"the reason of '{column}' names {many} to show it"
            help_ = "write one of  printed: ROW  and  counted: ROW, or say it under 'unresolved'"
            note = "an explanation is checked: a row prints, or counts, the other figure"
            checker.fault("E418", fact, place, help_, note=note)
        yield column, Reason(place=place, **{"why": "", **texts})


def _unresolved(node: Section, checker: Checker) -> Iterator[tuple[str, Reason]]:
    for column, below, place in _entries(node, "unresolved", checker):
        rule = Rule(name=column, type="text", example=f"{column}: what was tried")
        why = checker.literal(below, rule, f"'{column}' of 'unresolved'")
        yield column, Reason(why=str(why), place=place)


def _entries(node: Section, key: str, checker: Checker) -> Iterator[tuple[str, Section, Place]]:
    below = node.entries.get(key)
    section = checker.section(below, ROW[key]) if below is not None else None
    for column, value in section.entries.items() if section else ():
        yield column, value, section.keys[column]  # type: ignore[misc,union-attr]


def check_reasons(rows: Mapping[str, Row], checker: Checker) -> None:
    """Checks that every reason is about a figure, and that the rows they name are there."""
    for row in rows.values():
        for column, reason in row.reasons.items():
            if column not in MEASURED or not row.ref.get(column):
                counted = [name for name in row.ref if name in MEASURED]
                near = nearest(column, counted)
                helps = (f"did you mean '{near}'?",) if near else ()
                fact = f"row '{row.name}' has no counted figure '{column}' to give a reason for"
                note = f"its counted figures: {', '.join(counted) or 'none'}"
                checker.fault("E418", fact, reason.place, *helps, note=note)
            named = reason.printed or reason.counted
            if named and "#" not in named and named not in rows:
                checker.faults.append(no_row(named, rows, reason.place, "this table"))
