"""The page of a search, gathered from its store and its folder, while it runs or after."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from flopwise.design.facade import Design
from flopwise.errors import RunError, SpecError
from flopwise.report.differences import describe_comparison
from flopwise.report.study import Studied, study_page
from flopwise.search.files import write_text
from flopwise.search.recalling import recorded
from flopwise.search.record import TrialRow, trial_row
from flopwise.search.status import Found, find

__all__ = ["write_report"]


def write_report(study: str | Path, file: str | Path | None) -> Path:
    """Writes the page of a search; see `flopwise.report`."""
    parts = _found(study)
    first = next(iter(parts.values()))
    home = Path(study) if "://" not in str(study) else first.folder
    if file is None and not home.is_dir():
        raise RunError(f"the folder of the study, {home}, is not here: say with -o where to write")
    studied = [_studied(name, found) for name, found in parts.items()]
    page = Path(file) if file else home / "report.html"
    plan = first.study.user_attrs.get("plan", {})
    write_text(page, study_page(plan.get("name", first.name), _facts(first), studied))
    return page


def _found(study: str | Path) -> dict[str, Found]:
    """Returns the studies of a search: one for each budget, by their names."""
    if "://" not in str(study):
        folders = [each for each in Path(study).glob("budget-*") if each.is_dir()]
        folders.sort(key=lambda each: int(each.name.partition("-")[2]))
        started = [each for each in folders if (each / "study.json").exists()]
        if started:
            return {each.name.replace("-", " "): find(each) for each in started}
    return {"": find(study)}


def _facts(found: Found) -> dict[str, str]:
    """Returns what was run, with what, where."""
    known = next((t.user_attrs["about"] for t in found.trials if "about" in t.user_attrs), None)
    facts = {"folder": str(found.folder)}
    if known:
        made = known["made"]
        kept = ("flopwise", "torch", "timm", "optuna")
        versions = {name: made["versions"][name] for name in kept if name in made["versions"]}
        facts |= {"command": made["command"], "begun": made["time"], "machine": made["machine"]}
        facts["versions"] = ", ".join(f"{name} {number}" for name, number in versions.items())
    return facts


def _studied(name: str, found: Found) -> Studied:
    rows = [trial_row(t) for t in found.trials if t.user_attrs.get("picks") is not None]
    known = found.study.user_attrs
    part = Studied(
        name=name,
        identity=known["identity"],
        probe=known.get("probe", {}),
        rows=rows,
        curves={},
        finals=_rows(found.folder / "finals.csv"),
        agreement=_rows(found.folder / "agreement.csv"),
        winner=_winner(found.folder),
        picture="",
        changes="",
    )
    curves = dict(_curves(found.folder, rows, part.metric))
    picture, changes = _network(found, part)
    return replace(part, curves=curves, picture=picture, changes=changes)


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def _winner(folder: Path) -> Mapping[str, Any]:
    path = folder / "winner" / "winner.json"
    read: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return read


def _curves(folder: Path, rows: list[TrialRow], metric: str) -> Iterator[tuple[int, list[float]]]:
    """Yields the number of each training and its score after every epoch."""
    for row in rows:
        path = folder / "trials" / row.identity / "epochs.jsonl"
        if not row.identity or not path.exists():
            continue
        lines = path.read_text(encoding="utf-8").splitlines()
        epochs = [json.loads(line) for line in lines if line.endswith("}")]
        if scores := [each[metric] for each in epochs if metric in each]:
            yield row.number, scores


def _network(found: Found, part: Studied) -> tuple[str, str]:
    """Returns the picture of the chosen network, and what it changed of the written one."""
    records = {t.number: t.user_attrs["about"] for t in found.trials if "about" in t.user_attrs}
    if part.chosen is None or part.chosen not in records:
        return "", ""
    try:
        chosen = Design(recorded(records[part.chosen]))
        written = next((n for n, about in records.items() if about["written"]), None)
        if written is None or written == part.chosen:
            return chosen.svg(), ""
        change = Design(recorded(records[written])).diff(chosen)
        named = replace(change, names=("as written", f"trial {part.chosen}"), recipe=())
        return chosen.svg(), describe_comparison(named)
    except SpecError:  # code of the user's that may not run on this machine
        return "", ""
