"""The proof of a folder: a process that imports only timm must give what our module gives."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from flopwise.errors import RunError
from flopwise.export.versions import supported

__all__ = [
    "TOLERANCE",
    "Case",
    "Proof",
    "call_witness",
    "images_like",
    "prove",
    "verify",
    "verify_all",
    "write_pictures",
]

TOLERANCE = 1e-5
"""Largest difference of a logit, over the largest logit."""

CHUNK = 64
WITNESS = Path(__file__).with_name("witness.py")


@dataclass(frozen=True, kw_only=True)
class Proof:
    """What the witness found.

    Attributes:
        timm: The versions of timm that loaded the folder.
        torch: Its version of torch.
        missing: The version of timm, or `newest`, -> why it could not be asked.
        difference: Largest difference between its logits and ours.
        scale: Our largest logit.
        images: Test images that were classified.
        correct: How many of them timm's model gets right.
        ours: How many of them our module gets right.
        ways: The other forms in the folder, each with its file and how far it is off.
        features: What timm's `features_only` gives: the `channels` of each level and its `steps` in
            pixels, and the `out_indices` that must be asked for, if any; empty if there is none.
        failures: Everything that does not hold; empty when the folder is proven.
    """

    timm: tuple[str, ...] = ()
    torch: str = ""
    missing: Mapping[str, str] = field(default_factory=dict)
    difference: float = float("inf")
    scale: float = 0.0
    images: int = 0
    correct: int = 0
    ours: int = 0
    ways: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    features: Mapping[str, Sequence[int]] = field(default_factory=dict)
    failures: tuple[str, ...] = ()

    @property
    def proven(self) -> bool:
        """Whether everything holds."""
        return not self.failures

    @property
    def relative(self) -> float:
        """The difference over the scale."""
        return self.difference / max(self.scale, 1e-12)

    def as_dict(self) -> dict[str, Any]:
        """Returns proof.json."""
        told = asdict(self)
        return {"proven": self.proven, **told, "relative": self.relative, "tolerance": TOLERANCE}

    def __str__(self) -> str:
        told = f"proven with timm {' and '.join(self.timm)} (torch {self.torch})"
        return "; ".join([told, *(f"not with {v}: {why}" for v, why in self.missing.items())])


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """One folder and the module it must equal.

    Attributes:
        folder: The exported folder.
        model: Our module with the weights that were exported.
        images: Test images as the module gets them; None compares logits on noise only.
        labels: Their classes.
        pictures: The same images before any transform; timm's own, as config.json sets it up, must
            make `images` of them.
    """

    folder: Path
    model: nn.Module = field(repr=False)
    images: Tensor | None = None
    labels: Tensor | None = None
    pictures: Sequence[Image.Image] = ()


def verify(
    folder: Path,
    model: nn.Module,
    *,
    images: Tensor | None = None,
    labels: Tensor | None = None,
    pictures: Sequence[Image.Image] = (),
    timm: Path | None = None,
) -> Proof:
    """Proves that stock timm, without flopwise, loads a folder and gives what our module gives.

    Args:
        folder: The exported folder.
        model: Our module with the exported weights.
        images: Test images as the module gets them.
        labels: Their classes; the accuracies must be the same.
        pictures: The same images before any transform.
        timm: A folder with another version of timm in it.
    """
    case = Case(folder=folder, model=model, images=images, labels=labels, pictures=pictures)
    return verify_all([case], timm=timm)[0]


def prove(case: Case) -> Proof:
    """Proves a folder with the lowest, the installed and the newest timm, under one torch.

    A version that cannot be had, or does not run under this torch, is not called proven; the proof
    says why it was not asked.
    """
    versions = supported()
    found: dict[str, Proof] = {}
    missing = dict(versions.missing)
    for version, place in versions.places.items():
        try:
            proof = verify_all([case], timm=place)[0]
            found[proof.timm[0]] = proof
        except RunError as error:
            if place is None:
                raise
            missing[version] = str(error).splitlines()[-1]
    worst = max(found.values(), key=lambda each: (not each.proven, each.relative))
    failures = [f"timm {v}: {failure}" for v, each in found.items() for failure in each.failures]
    features = min((each.features for each in found.values()), key=_asked)
    told = replace(worst, timm=tuple(found), missing=missing, failures=tuple(failures))
    return replace(told, features=features)


def _asked(features: Mapping[str, Sequence[int]]) -> tuple[int, bool]:
    """What works with every version comes first: the fewest levels, asked for by number."""
    return len(features.get("channels", ())), "out_indices" not in features


def verify_all(cases: Sequence[Case], *, timm: Path | None = None) -> list[Proof]:
    """Proves several folders in one process."""
    with tempfile.TemporaryDirectory() as place:
        room = Path(place)
        jobs = [_job(case, room / str(i)) for i, case in enumerate(cases)]
        report = call_witness(jobs, room, timm)
        blank = Proof(timm=(report["timm"],), torch=report["torch"])
        return [
            _judge(case, job, found, blank)
            for case, job, found in zip(cases, jobs, report["jobs"], strict=True)
        ]


def images_like(shape: tuple[int, ...], *, count: int = 4, seed: int = 0) -> Tensor:
    """Returns seeded noise with a gradient in it, so that no two positions look alike."""
    generator = torch.Generator().manual_seed(seed)
    ramp = torch.linspace(-1, 1, shape[-1])
    return torch.randn(count, *shape, generator=generator) + ramp


def _job(case: Case, stem: Path) -> dict[str, str]:
    """Writes what the witness shall classify."""
    config = json.loads((case.folder / "config.json").read_text(encoding="utf-8"))
    inputs = {"batch": images_like(tuple(config["pretrained_cfg"]["input_size"]))}
    if case.images is not None:
        inputs["images"] = case.images
    names = {key: str(stem.with_suffix(f".{key}")) for key in ("inputs", "outputs")}
    save_file({key: value.contiguous() for key, value in inputs.items()}, names["inputs"])
    if case.pictures:
        names["pictures"] = write_pictures(case.pictures, stem)
    return {"folder": str(case.folder.resolve()), **names}


def write_pictures(pictures: Sequence[Image.Image], folder: Path) -> str:
    """Writes pictures for the witness, in their order; returns the folder's name."""
    folder.mkdir()
    for number, picture in enumerate(pictures):
        picture.save(folder / f"{number:08}.png", compress_level=1)
    return str(folder)


def call_witness(jobs: list[dict[str, str]], room: Path, timm: Path | None) -> Any:
    """Runs the witness on jobs and returns its report; `timm` holds another version of it."""
    (room / "jobs").write_text(json.dumps(jobs), encoding="utf-8")
    places = [str(timm)] if timm else []
    places += [os.environ["PYTHONPATH"]] if "PYTHONPATH" in os.environ else []
    settings = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(places),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": str(torch.get_num_threads()),
    }
    command = [sys.executable, "-BP", str(WITNESS), str(room / "jobs"), str(room / "report")]
    done = subprocess.run(command, env=settings, cwd=room, capture_output=True, text=True)
    if done.returncode:
        raise RunError(f"the process that should load the export failed:\n{done.stderr.strip()}")
    return json.loads((room / "report").read_text(encoding="utf-8"))


def _judge(case: Case, job: Mapping[str, str], found: Mapping[str, Any], blank: Proof) -> Proof:
    """Holds what the witness found against our module."""
    if "error" in found:
        return replace(blank, failures=(f"timm does not load the folder: {found['error']}",))
    inputs, theirs = load_file(job["inputs"]), load_file(job["outputs"])
    ours = {key: _logits(case.model, value) for key, value in inputs.items()}
    if case.pictures:
        ours["pictures"] = ours["images"]
    gaps = torch.cat([(ours[key] - theirs[key]).flatten() for key in ours])
    proof = replace(
        blank,
        difference=gaps.abs().max().item(),
        scale=torch.cat([value.flatten() for value in ours.values()]).abs().max().item(),
    )
    if case.labels is not None:
        proof = replace(
            proof,
            images=len(case.labels),
            correct=_correct(theirs["pictures" if case.pictures else "images"], case.labels),
            ours=_correct(ours["images"], case.labels),
        )
    features = {key: value for key, value in found["levels"].items() if key != "right"}
    failures = tuple(_failures(proof, found["checks"]))
    return replace(proof, features=features, failures=failures)


def _failures(proof: Proof, checks: Mapping[str, Any]) -> Iterator[str]:
    if not proof.relative <= TOLERANCE:  # also when it is no number
        yield f"logits differ by {proof.difference:.2g} where the largest is {proof.scale:.2g}"
    if proof.correct != proof.ours:
        yield (
            f"timm's model gets {proof.correct} of {proof.images} images right, ours {proof.ours}"
        )
    for name, answer in checks.items():
        if answer is not True:
            yield f"{name}: {answer['error'] if answer else 'another result'}"


def _correct(logits: Tensor, labels: Tensor) -> int:
    return int((logits.argmax(1) == labels).sum())


@torch.inference_mode()
def _logits(model: nn.Module, images: Tensor) -> Tensor:
    """Classifies in the very pieces the witness uses."""
    was, device = model.training, next(model.parameters()).device
    model.eval()
    logits = torch.cat([model(piece.to(device)).cpu() for piece in torch.split(images, CHUNK)])
    model.train(was)
    return logits
