"""Checking an exported folder again, wherever it has been since: files, weights, logits, images.

`findings` looks at the files; nothing of the folder runs before all of them are as they were.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from flopwise.dsl.consent import knows, remember
from flopwise.errors import RunError
from flopwise.export.findings import findings, is_generated, read_json
from flopwise.export.folder import CONFIG, PROOF, SAMPLE, WEIGHTS, digest_of
from flopwise.export.proof import TOLERANCE, call_witness, write_pictures
from flopwise.export.standalone import CODE
from flopwise.export.ways import WAYS, compare, needed

__all__ = ["Recheck", "recheck"]

MEND = (
    "to mend it, copy what is named here again from where the folder comes from, or export the "
    "network again{command}. Weights that you changed on purpose need a proof of their own:  "
    "flopwise export {folder}/spec.yaml --weights {folder} --out NEW_FOLDER"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recheck:
    """What was found in a folder that holds.

    Attributes:
        tier: `native`, `carrier` or `standalone`.
        architecture: The name timm builds it by.
        tensors: Tensors of its weights.
        difference: Largest difference between the logits of the stored sample and those found.
        timm: The version of timm that loaded it.
        images: Images that were classified.
        correct: How many of them rightly.
        recorded: How many images the exporter classified rightly, and of how many.
        same: Whether these are the images of the exporter.
        ways: Other forms in the folder: file -> how far its logits are off.
        skipped: Those that were only held against their SHA-256 -> why.
    """

    tier: str
    architecture: str
    tensors: int
    difference: float
    timm: str
    images: int = 0
    correct: int = 0
    recorded: tuple[int, int] = (0, 0)
    same: bool = False
    ways: Mapping[str, float] = field(default_factory=dict)
    skipped: Mapping[str, str] = field(default_factory=dict)


def recheck(
    folder: Path,
    *,
    pictures: Sequence[Image.Image] = (),
    labels: Tensor | None = None,
    digest: str = "",
    allow_code: bool = False,
) -> Recheck:
    """Checks a folder in a process that knows only timm, and runs its `model.py` if it has one.

    Args:
        folder: An exported folder.
        pictures: Images to classify, as they are.
        labels: Their classes.
        digest: What identifies these images, as the folder's `test_images` does the exporter's.
        allow_code: Whether files of the folder that are code may run although they are not what
            flopwise writes and nobody has allowed them before; from then on they are.

    Raises:
        RunError: Something does not hold; every reason is named.
    """
    folder = folder.resolve()
    _stop(folder, findings(folder))
    _ask(folder, allow_code)
    config, proof = read_json(folder / CONFIG), read_json(folder / PROOF)
    sample = load_file(folder / SAMPLE)
    timm, outputs = _load(folder, sample["input"], pictures)
    right = 0
    if pictures and labels is not None:
        right = int((outputs["pictures"].argmax(1) == labels).sum())
    with safe_open(folder / WEIGHTS, framework="pt") as file:
        tensors = len(file.keys())
    count = proof.get("images", 0)
    found = Recheck(
        tier=config.get("tier", "native"),
        architecture=config["architecture"],
        tensors=tensors,
        difference=(outputs["sample"] - sample["logits"]).abs().max().item(),
        timm=timm,
        images=len(pictures),
        correct=right,
        recorded=(proof.get("correct", 0), count),
        same=bool(digest) and digest == config.get("test_images") and count == len(pictures),
    )
    failures = [*_other_results(found, sample["logits"].abs().max().item())]
    ways, skipped = _other_forms(folder, proof, sample, allow_code, failures)
    _stop(folder, failures)
    return replace(found, ways=ways, skipped=skipped)


def _stop(folder: Path, failures: Sequence[str]) -> None:
    if failures:
        told = "".join(f"\n  - {failure}" for failure in failures)
        mend = MEND.format(folder=folder, command=_command(folder))
        raise RunError(f"{folder} does not hold what was proven:{told}\n{mend}")


def _command(folder: Path) -> str:
    """Returns how the folder was exported, if it says so."""
    try:
        command = read_json(folder / CONFIG).get("export_command")
    except (OSError, RunError):
        return ""
    known = isinstance(command, str) and command.isprintable()
    return f" ({command})" if known else ""


def _ask(folder: Path, allow_code: bool) -> None:
    """Refuses a `model.py` that is neither generated nor allowed."""
    path = folder / CODE
    if not path.is_file() or knows(digest_of(path)) or is_generated(folder):
        return
    if not allow_code:
        raise RunError(
            f"{path} is Python that would run to load this network; it is not what this flopwise "
            "writes for the folder's spec, and nobody has allowed it. Look at it, then add  "
            "--allow-code  (in Python: allow_code=True); it may run from then on, until it changes"
        )
    remember(digest_of(path), str(path))


def _other_forms(
    folder: Path,
    proof: Mapping[str, Any],
    sample: Mapping[str, Tensor],
    allow_code: bool,
    failures: list[str],
) -> tuple[dict[str, float], dict[str, str]]:
    """Runs the other forms on the sample; adds to the failures what gives other logits."""
    found, skipped = {}, {}
    for name in proof.get("ways", {}):
        if name not in WAYS or WAYS[name].open is None:
            continue
        file = WAYS[name].file
        if WAYS[name].code and not (allow_code or knows(digest_of(folder / file))):
            skipped[file] = "torch may unpickle parts of it; --allow-code runs it"
            continue
        try:
            needed([name])
        except RunError as error:
            skipped[file] = str(error)
            continue
        try:
            pair = (sample["input"], sample["logits"])
            found[file] = compare(name, folder, [pair])["difference"]
        except Exception as error:  # whatever a library may raise is the finding
            failures.append(f"{file}: {error}")
    return found, skipped


def _load(
    folder: Path, image: Tensor, pictures: Sequence[Image.Image]
) -> tuple[str, dict[str, Tensor]]:
    """Returns the version of timm that loads the folder, and the logits it gives."""
    with tempfile.TemporaryDirectory() as room:
        place = Path(room)
        job = {"folder": str(folder)}
        job |= {key: str(place / key) for key in ("inputs", "outputs")}
        save_file({"sample": image}, job["inputs"])
        if pictures:
            job["pictures"] = write_pictures(pictures, place / "pictures")
        report = call_witness([job], place, None)
        found = report["jobs"][0]
        failures = [f"timm does not load it: {found['error']}"] if "error" in found else []
        for name, answer in found.get("checks", {}).items():
            if answer is not True:
                failures.append(f"{name}: {answer['error'] if answer else 'another result'}")
        _stop(folder, failures)
        return report["timm"], load_file(job["outputs"])


def _other_results(found: Recheck, scale: float) -> Iterator[str]:
    if not found.difference <= TOLERANCE * max(scale, 1e-12):  # also when it is no number
        yield f"the logits of {SAMPLE} differ by {found.difference:.2g}; the largest is {scale:.2g}"
    correct, count = found.recorded
    if found.same and found.correct != correct:
        yield f"{found.correct} of {count} test images are right, and {correct} were"
