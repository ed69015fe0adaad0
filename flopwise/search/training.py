"""The default evaluator: real trainings on real images. The only module of the room with torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flopwise import nets
from flopwise.dsl import Network, Recipe, Spec
from flopwise.nets.inherit import Start, inherit
from flopwise.search.evaluator import Evaluator, Measure, OnEpoch, Verdict
from flopwise.search.identity import digest
from flopwise.search.settings import refuse_settings
from flopwise.train import (
    Data,
    Epoch,
    answer,
    fitting_threads,
    load_weights,
    open_data,
    train,
    usual_device,
)

__all__ = [
    "Trainings",
    "described",
    "facts_of",
    "open_images",
    "selection",
    "settled",
    "shared_by",
    "tidy",
    "trainings",
]

METRICS = ("top1", "balanced", "loss")


@dataclass(frozen=True)
class Trainings:
    """Trains on the images of a spec; opens each selection of them once.

    Attributes:
        start: Weights that every network begins from, as far as they fit.
        processes: Processes that share a training, each on a GPU of its own where there are GPUs.
    """

    _opened: dict[tuple[Any, ...], Data] = field(default_factory=dict, repr=False)
    start: Start | None = None
    processes: int = 1

    def evaluate(
        self, network: Network, recipe: Recipe, folder: Path, on_epoch: OnEpoch
    ) -> Measure:
        """Trains, or goes on with the training in `folder`; looks at validation images only."""

        def told(epoch: Epoch) -> None:
            on_epoch(epoch.epoch, epoch.epochs, {name: getattr(epoch, name) for name in METRICS})

        model = nets.build(network, seed=recipe.seed)
        if self.start:
            inherit(model, network, self.start)
        data = self.images(network, recipe)
        with fitting_threads(network.graph.macs, recipe.batch):
            result = train(model, data, recipe, folder, on_epoch=told, processes=self.processes)
        return Measure(
            scores={name: getattr(result.best, name) for name in METRICS},
            epochs=result.last.epoch,
            seconds=result.seconds,
            images_per_s=result.images_per_second,
            outside_share=result.outside_share,
            weights=Path(result.weights),
            kind=result.kind,
            processes=result.processes,
        )

    def judge(self, network: Network, recipe: Recipe, measure: Measure) -> Verdict:
        """Opens the test split and judges the weights of the best epoch."""
        assert measure.weights, "a training leaves its weights"
        model = nets.build(network, seed=recipe.seed)
        load_weights(model, measure.weights)
        data = self.images(network, recipe)
        with fitting_threads(network.graph.macs, recipe.batch):
            answers = answer(model, data, "test", device=usual_device())
        score = answers.score()
        return Verdict(
            scores={name: getattr(score, name) for name in METRICS}, correct=answers.correct
        )

    def images(self, network: Network, recipe: Recipe) -> Data:
        """Returns the images that a recipe selects; a search may pick how many."""
        key = selection(network, recipe)
        if key not in self._opened:
            self._opened[key] = open_images(network, recipe)
        return self._opened[key]


def trainings(spec: Spec, start: Start | None = None, processes: int = 1) -> tuple[Spec, Evaluator]:
    """Opens the images of a spec; reads no test image.

    Args:
        spec: The spec.
        start: Weights that every network begins from, as far as they fit.
        processes: Processes that share a training.

    Returns:
        The spec, with the classes of the data if it does not say how many, and its evaluator.

    Raises:
        SpecError: The data are not there, or disagree with the spec, or some setting that is
            written or searched cannot be followed.
    """
    spec, data = settled(spec)
    refuse_settings([spec], data, processes, searched=True)
    work = Trainings({selection(spec.network(), spec.recipe): data}, start, processes)
    told = {"start": {"from": start.place, "sha256": start.digest}} if start else {}
    return spec, Evaluator(
        evaluate=work.evaluate,
        judge=work.judge,
        tidy=tidy,
        facts=facts_of(data) | ({"start": start.digest[:16]} if start else {}),
        images=len(data.train),
        data={**data.facts.as_dict(), "class_names": list(data.facts.classes), **told},
        manifest=data.manifest(),
        notes=(described(data), *data.notes, *shared_by(processes)),
    )


def settled(spec: Spec) -> tuple[Spec, Data]:
    """Opens the images; a spec that does not say how many classes gets those of the data."""
    data = open_data(
        spec.recipe,
        size=spec.input.size,
        channels=spec.input.channels,
        classes=spec.classes if spec.classes_written else None,
    )
    classes = len(data.facts.classes)
    return (spec if classes == spec.classes else spec.set([("classes", str(classes))])), data


def described(data: Data) -> str:
    """Says in one line what the images are."""
    facts = data.facts
    names = ", ".join(facts.classes[:10]) + (", ..." if len(facts.classes) > 10 else "")
    mean, std = (", ".join(f"{value:.4f}" for value in each) for each in (facts.mean, facts.std))
    return (
        f"{facts.source}: {len(data.train):,} training and {len(data.validation):,} validation "
        f"images, {'grey' if facts.channels == 1 else 'coloured'}, {len(facts.classes)} classes "
        f"({names}), mean {mean}, std {std}"
    )


def shared_by(processes: int) -> tuple[str, ...]:
    """Says what each training is shared by; nothing where it is one process."""
    if processes == 1:
        return ()
    if usual_device().type == "cuda":
        return (f"each training is shared by {processes} GPUs",)
    return (f"no GPU is here: each training is shared by {processes} processes on the CPU",)


def selection(network: Network, recipe: Recipe) -> tuple[Any, ...]:
    """Returns everything that decides which images are opened, and how they are seen."""
    size = network.input.size
    return (*size, recipe.test_size, recipe.data, recipe.images, recipe.validation)


def open_images(network: Network, recipe: Recipe) -> Data:
    """Opens images for a network whose classes and channels are settled."""
    return open_data(
        recipe,
        size=network.input.size,
        channels=network.input.channels,
        classes=network.classes,
    )


def facts_of(data: Data) -> dict[str, Any]:
    """Returns what scores depend on: digests of the images and of the cut, never of test images."""
    return {
        "train": data.train.digest[:16],
        "validation": data.validation.digest[:16],
        "cut": digest([data.cut.chosen_of, data.cut.chosen.tolist()]),
    }


def tidy(folder: Path) -> None:
    """Deletes what only an unfinished training needs; it is several times the weights."""
    (folder / "last.pt").unlink(missing_ok=True)
