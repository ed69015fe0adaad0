"""The folder of a study to a folder that timm loads, and such a folder checked again."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import safe_open
from safetensors.torch import load_file

from flopwise import dsl
from flopwise.errors import RunError, SpecError
from flopwise.export import Facts
from flopwise.export.findings import findings, read_json
from flopwise.export.folder import CONFIG, export
from flopwise.export.proof import Proof
from flopwise.export.rechecking import Recheck, recheck
from flopwise.export.ways import needed
from flopwise.search.training import open_images
from flopwise.train import open_data
from flopwise.train.view import normalised

__all__ = ["SHOWN", "export_study", "same_classes", "verify_folder"]

SHOWN = 2000
"""Most test images that the proof classifies."""

MADE = ("command", "versions", "machine", "time")
ORIGIN = ("trial", "picks", "seed", "kind", *MADE)
"""What a winner tells about itself that a folder passes on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What a study says about one trained network."""

    spec: dsl.Spec
    weights: Path
    data: Mapping[str, Any]
    provenance: Mapping[str, Any]


def export_study(
    study: Path,
    folder: Path,
    trial: int | None = None,
    *,
    also: Sequence[str] = (),
    command: str = "",
) -> Proof:
    """Exports the winner of a study, or one of its trials, and proves the folder.

    Args:
        study: The folder of a search or training.
        folder: Where to write.
        trial: Number of another trial than the winner.
        also: Other forms to lay beside, keys of `flopwise.export.ways.WAYS`.
        command: The command that asked for it, for the records.
    """
    needed(also)
    found = _find(study, trial)
    network, recipe = found.spec.network(), found.spec.recipe
    facts = Facts.of(found.data)
    shown, test = _test_images(network, recipe, facts)
    spec = found.spec.render()
    asked = {"export_command": command or None, "spec": spec}
    told = found.spec.export
    return export(
        network,
        load_file(found.weights),
        folder,
        facts=facts,
        provenance={**found.provenance, "data": recipe.data, "test_images": test, **asked},
        texts={"spec.yaml": spec, **{code.key: code.text for code in found.spec.codes}},
        also=also,
        license=str(told.get("license", "other")),
        tag=str(told.get("tag", "flopwise")),
        like=str(told.get("timm", "")),
        **shown,
    )


def verify_folder(folder: Path, data: str = "", *, allow_code: bool = False) -> Recheck:
    """Checks an exported folder again.

    Args:
        folder: The folder.
        data: Where test images lie; without them only its own sample is looked at.
        allow_code: Whether code in the folder that nobody has allowed may run.
    """
    broken = findings(folder)
    if broken or not data:
        return recheck(folder, allow_code=allow_code)  # says what is wrong
    config = read_json(folder / CONFIG)
    channels, *size = config["pretrained_cfg"]["input_size"]
    opened = open_data(
        dsl.Recipe(data=data),
        size=(size[0], size[1]),
        channels=channels,
        classes=config["num_classes"],
    )
    same_classes(folder / CONFIG, config.get("label_names", []), opened.facts.classes)
    split = opened.test()
    count = min(len(split), SHOWN)
    return recheck(
        folder,
        pictures=[split.picture(index) for index in range(count)],
        labels=split.labels[:count],
        digest=split.digest[:16],
        allow_code=allow_code,
    )


def same_classes(where: Path, ours: Sequence[str], theirs: Sequence[str]) -> None:
    """Refuses images whose classes have other names, for their numbers would mean other things."""
    for number, (name, other) in enumerate(zip(ours, theirs, strict=False)):
        if name != other:
            raise RunError(
                f"class {number} is '{name}' in {where} and '{other}' in the data, so "
                "an accuracy would mean nothing; name the images it was trained for"
            )


def _find(study: Path, trial: int | None) -> _Found:
    record = study / "winner" / "winner.json"
    if not record.exists():
        if (study / "budgets.csv").exists():
            each = study / "budget-1"
            raise RunError(f"{study} holds a study for each of several budgets; export {each}")
        raise RunError(
            f"{study} has no winner yet; run its search or training to the end first"
            if study.is_dir()
            else f"there is no folder {study}"
        )
    known = json.loads(record.read_text(encoding="utf-8"))
    if trial is None:
        home, weights = study / "winner", study / (known["weights"] or "nothing")
        told = {key: known[key] for key in ORIGIN if key in known}
        told["scores"] = list(_scores(known))
    else:
        row = _row(study, trial)
        home = study / "trials" / row["identity"]
        weights = home / "best.safetensors"
        told = _trial(row) | {key: known[key] for key in MADE if key in known}
    if not weights.is_file():
        raise RunError(f"the weights are gone: there is no file {weights}")
    told = {"kind": _kind(weights), "start": known["data"].get("start"), **told}
    spec = dsl.load(home / "resolved.yaml")
    told = {"study": study.resolve().name, "seed": spec.recipe.seed, **told}
    return _Found(spec=spec, weights=weights, data=known["data"], provenance=told)


def _scores(known: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yields the scores of a winner, each with what it is."""
    trials = known.get("trials", 0)
    many = f"{trials} trials" if trials > 1 else "many"
    what = {
        "test": "these weights on the test split, opened for nothing else",
        "validation": "these weights on the validation split, which chose among epochs and runs",
        "search": f"its trial in the search: the best of {many}, so optimistic",
    }
    for name, meaning in what.items():
        if known.get(name):
            yield {"of": name, "values": known[name], "what": meaning}
    if means := {
        name: mean for name, (mean, _) in known.get("fresh", {}).items() if mean is not None
    }:
        meaning = "mean over trainings on fresh seeds, of which these weights are one"
        yield {"of": "test, fresh seeds", "values": means, "what": meaning}


def _trial(row: Mapping[str, str]) -> dict[str, Any]:
    """Returns what a row of trials.csv tells about a trial."""
    columns = list(row)
    picked = columns[columns.index("written") + 1 : columns.index("macs")]
    scores = {k.removeprefix("val_"): float(v) for k, v in row.items() if k[:4] == "val_" and v}
    meaning = "its training in the search, on the validation split, which chose among epochs"
    return {
        "trial": int(row["number"]),
        "picks": {name: yaml.safe_load(row[name]) for name in picked if row[name]},
        "scores": [{"of": "validation", "values": scores, "what": meaning}],
    }


def _kind(weights: Path) -> str | None:
    """Returns which weights of a training a file holds: raw or ema."""
    with safe_open(weights, framework="pt") as file:
        known = json.loads((file.metadata() or {}).get("flopwise", "{}"))
    found: str | None = known.get("weights")
    return found


def _row(study: Path, trial: int) -> dict[str, str]:
    """Returns the row of a trained trial in trials.csv."""
    path = study / "trials.csv"
    if not path.is_file():
        raise RunError(f"{study} is one training and no search, so it has no trial {trial}")
    with path.open(encoding="utf-8", newline="") as file:
        rows = {int(row["number"]): row for row in csv.DictReader(file)}
    if trial not in rows or rows[trial]["state"] != "done":
        done = sorted(number for number, row in rows.items() if row["state"] == "done")
        raise RunError(f"{study} has no trained trial {trial}; trained are {done}")
    return rows[trial]


def _test_images(
    network: dsl.Network, recipe: dsl.Recipe, facts: Facts
) -> tuple[dict[str, Any], str | None]:
    """Returns test images as the module gets them and as they are, and their digest.

    Nothing if they are gone.
    """
    try:
        split = open_images(network, recipe).test()
    except SpecError:
        return {}, None
    count = min(len(split), SHOWN)
    pictures = [split.picture(index) for index in range(count)]
    if split.sized is not None:
        pixels = split.sized[:count]
    else:
        transform = split.view.transform()
        pixels = torch.stack([transform(picture) for picture in pictures])
    mean, std = (torch.tensor(each).view(-1, 1, 1) for each in (facts.mean, facts.std))
    seen = {
        "images": normalised(pixels, mean, std),
        "labels": split.labels[:count],
        "pictures": pictures,
    }
    return seen, split.digest[:16]
