"""A table of known results in place of trainings: a search over it takes seconds."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from flopwise.dsl import Network, Recipe, Search, Value, spell
from flopwise.dsl.space import EvaluatorChoice
from flopwise.errors import Fault, RunError, SpecError, nearest
from flopwise.search.evaluator import Measure, OnEpoch

__all__ = ["Results", "read_results"]

Row: TypeAlias = Mapping[str, str]


@dataclass(frozen=True)
class Results:
    """Known results, by what tells candidates apart.

    Attributes:
        name: What messages call the table.
        targets: The targets that make the key, in order; none for the network's hash.
        rows: Key -> row.
        scores: Score -> epochs -> columns, one for each seed; 0 is any number of epochs.
        digest: SHA-256 of the file.
    """

    name: str
    targets: tuple[str, ...]
    rows: Mapping[tuple[str, ...], Row]
    scores: Mapping[str, Mapping[int, tuple[str, ...]]]
    digest: str

    @property
    def facts(self) -> dict[str, Any]:
        """What scores depend on: the text of the table, and which columns are read."""
        columns = {
            name: {str(e): list(c) for e, c in by.items()} for name, by in self.scores.items()
        }
        return {"table": self.digest[:16], "scores": columns}

    def evaluate(
        self, network: Network, recipe: Recipe, folder: Path, on_epoch: OnEpoch
    ) -> Measure:
        """Returns the known scores of a network at the recipe's epochs and seed.

        Raises:
            RunError: The table has no row for it, or no number there.
        """
        key = self._key(network, recipe)
        if key not in self.rows:
            words = zip(self.targets, key, strict=True) if self.targets else [("hash", key[0])]
            what = ", ".join(f"{target}={word}" for target, word in words)
            raise RunError(f"'{self.name}' has no row for {what}")
        scores, epochs = {}, 0
        for name, by_epochs in self.scores.items():
            known = [each for each in by_epochs if each <= recipe.epochs]
            length = max(known, default=min(by_epochs))
            columns, epochs = by_epochs[length], max(epochs, length)
            scores[name] = self._number(self.rows[key], columns[recipe.seed % len(columns)])
        return Measure(scores=scores, epochs=epochs or recipe.epochs)

    def _key(self, network: Network, recipe: Recipe) -> tuple[str, ...]:
        if not self.targets:
            return (network.hash,)
        return tuple(_spelled(_worth(target, network, recipe)) for target in self.targets)

    def _number(self, row: Row, column: str) -> float:
        try:
            return float(row[column])
        except ValueError:
            fact = f"'{row[column]}' in column '{column}' of '{self.name}' is no number"
            raise RunError(fact) from None


def read_results(search: Search, home: Path) -> Results:
    """Reads the table that a search names.

    Args:
        search: The search section.
        home: The folder that the path of the table starts from.

    Raises:
        SpecError: The file cannot be read (E527), lacks a column or says something twice (E528).
    """
    choice = search.evaluator
    try:
        raw = (home / choice.source).read_bytes()
        rows = _rows(raw, choice.source)
    except (OSError, ValueError, EOFError) as error:
        helps = (f"a table is .csv, .csv.gz or .json, and is looked for from {home}",)
        fact = f"the table '{choice.source}' cannot be read: {error}"
        raise SpecError(
            [Fault(code="E527", message=fact, place=choice.place, helps=helps)]
        ) from None
    fitted = {search.fit.vary: search.fit.vary} if search.fit else {}
    key = choice.key or {**{target: target for target in search.space}, **fitted}
    key = {"hash": "hash"} if choice.hashed else key
    _refuse(choice, rows, [*key.values(), *_named(choice)])
    found = {tuple(row[column] for column in key.values()): row for row in rows}
    if len(found) < len(rows):
        fact = f"'{choice.source}' has {len(rows)} rows, but only {len(found)} different keys"
        helps = ("name every column that tells its rows apart under  key: [...]",)
        raise SpecError([Fault(code="E528", message=fact, place=choice.place, helps=helps)])
    targets = () if choice.hashed else tuple(key)
    digest = hashlib.sha256(raw).hexdigest()
    return Results(choice.source, targets, found, choice.scores, digest)


def _rows(raw: bytes, name: str) -> list[Row]:
    """Returns the rows of a file, every cell as text."""
    text = (gzip.decompress(raw) if name.endswith(".gz") else raw).decode("utf-8-sig")
    if not name.endswith(".json"):
        return list(csv.DictReader(io.StringIO(text)))
    read = json.loads(text)
    listed = [{"key": k, **v} for k, v in read.items()] if isinstance(read, dict) else read
    if not isinstance(listed, list) or not all(isinstance(row, dict) for row in listed):
        raise ValueError("it is neither a list of objects nor a map of them")
    return [{name: _spelled(value) for name, value in row.items()} for row in listed]


def _refuse(choice: EvaluatorChoice, rows: Sequence[Row], columns: Sequence[str]) -> None:
    if not rows:
        fact = f"the table '{choice.source}' has no row"
        raise SpecError([Fault(code="E527", message=fact, place=choice.place)])
    faults = []
    for column in dict.fromkeys(columns):
        if any(column not in row or row[column] is None for row in rows):
            near = nearest(column, rows[0])
            faults.append(
                Fault(
                    code="E528",
                    message=f"'{choice.source}' has no column '{column}'",
                    place=choice.place,
                    helps=(f"did you mean '{near}'?",) if near else (),
                    notes=(f"its columns: {', '.join(rows[0])}",),
                )
            )
    if faults:
        raise SpecError(faults)


def _named(choice: EvaluatorChoice) -> list[str]:
    several = [columns for by_epochs in choice.scores.values() for columns in by_epochs.values()]
    return [column for columns in several for column in columns]


def _worth(target: str, network: Network, recipe: Recipe) -> Value | None:
    head, _, rest = target.partition(".")
    value: Value | None = getattr(recipe, rest) if head == "train" else network.value(target)
    return value


def _spelled(value: Any) -> str:
    """Spells a value as a table does: text as it is, the rest as the language writes it."""
    if value is None:
        return ""
    return (
        value
        if isinstance(value, str)
        else spell(tuple(value) if isinstance(value, list) else value)
    )
