"""The trainings of a table: every row with every seed, each once, by any number of processes.

FOLDER/
├── results.jsonl      a line per finished training: all that the table is made of
├── runs.csv           the same for people
├── plan.json          network, recipe and images of each row; others are refused
└── trainings/ROW-SEED its epochs and, until it is finished, its checkpoint

`results.jsonl` alone is enough to go on: a training that has a line is never done again. A process
holds the lock of the training it is at (`trainings/IDENTITY.lock`), which the system frees when it
dies.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from time import sleep
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flopwise import nets
from flopwise.dsl import Network, Recipe, Spec
from flopwise.errors import RunError
from flopwise.search.crew import POLL, Crew
from flopwise.search.files import write_json
from flopwise.search.folder import differences, hold
from flopwise.search.identity import settings, trial_identity
from flopwise.search.manifest import provenance
from flopwise.search.record import COSTS, write_csv
from flopwise.search.training import METRICS, Trainings, facts_of, tidy
from flopwise.train import (
    DivergedError,
    answer,
    fitting_threads,
    images_seen,
    open_data,
    train,
    usual_device,
)

__all__ = ["Job", "Run", "Runs", "jobs_of", "read_runs"]

WAIT = 2.0
"""Seconds between two looks at trainings that other processes hold."""


@dataclass(frozen=True, slots=True)
class Job:
    """A training of a table.

    Attributes:
        row: The row.
        network: Its network, with the classes and channels of the images.
        recipe: Its recipe, with the seed.
    """

    row: str
    network: Network
    recipe: Recipe

    @property
    def name(self) -> str:
        """Its folder."""
        return f"{self.row}-{self.recipe.seed}"

    @property
    def identity(self) -> str:
        """What it is a training of."""
        return trial_identity(self.network, self.recipe)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A finished training: a line of `results.jsonl`.

    Attributes:
        row: The row.
        seed: The seed of the weights, the order of the images and the augmentations.
        identity: What it is a training of.
        hash: The network's structural hash.
        costs: `macs`, `params` and `activations`.
        epochs: Epochs that were trained.
        lr: Peak learning rate.
        seen: Training images that were looked at, over all epochs.
        passes: Forward and backward passes over each of them: 2 with `train.sam`.
        validation: Validation scores of the last epoch.
        scores: Test scores of the last epoch; empty for a training that failed.
        correct: Which test images were classified right, packed.
        reason: Why it failed.
        seconds: Time spent training.
        processes: Processes that shared its last session.
        made: Command, versions, machine and time.
    """

    row: str
    seed: int
    identity: str
    hash: str
    costs: Mapping[str, int]
    epochs: int
    lr: float = 0.0
    seen: int = 0
    passes: int = 1
    validation: Mapping[str, float] = field(default_factory=dict)
    scores: Mapping[str, float] = field(default_factory=dict)
    correct: str = ""
    reason: str = ""
    seconds: float = 0.0
    processes: int = 1
    made: Mapping[str, Any] = field(default_factory=dict)

    @property
    def answers(self) -> NDArray[np.bool_]:
        """Which test images were classified right."""
        return _unpacked(self.correct)

    def flat(self) -> dict[str, Any]:
        """Returns the row of `runs.csv`."""
        return {
            **{name: getattr(self, name) for name in ("row", "seed", "hash", "epochs")},
            **self.costs,
            **{f"test_{name}": self.scores.get(name) for name in METRICS},
            "seconds": round(self.seconds, 1),
            "reason": self.reason,
        }


@dataclass(frozen=True)
class Runs:
    """The trainings of a table in a folder.

    Attributes:
        folder: Where everything is kept.
        jobs: All trainings, in the order they are begun.
        images: The images by what selects them.
        command: The command that asked for them.
    """

    folder: Path
    jobs: Sequence[Job]
    images: Trainings
    command: str = ""

    @property
    def done(self) -> list[Run]:
        """The finished trainings of these jobs, in their order."""
        lines = {run.identity: run for run in read_runs(self.folder / "results.jsonl")}
        found = ((job, lines.get(job.identity)) for job in self.jobs)
        return [replace(run, row=job.row) for job, run in found if run]

    def run(self, told: Callable[[Run, int], None], crew: Crew | None = None) -> list[Run]:
        """Does what is left, and waits for what other processes are at.

        Args:
            told: Called with every training that this process or its crew finished, and how many
                are left.
            crew: Workers that do it all; none for this process.
        """
        self._claim()
        if crew:
            return self._overseen(told, crew)
        while left := self._left():
            busy = [self._try(job, told) for job in left]
            if not any(busy):
                sleep(WAIT)
        return self.done

    def _overseen(self, told: Callable[[Run, int], None], crew: Crew) -> list[Run]:
        """Looks after workers until all is done, and tells what they finish."""
        known = {run.identity for run in self.done}
        if self._left():
            crew.start()
        while True:
            left = len(self._left())
            new = [run for run in self.done if run.identity not in known]
            for after, run in zip(reversed(range(len(new))), new, strict=True):
                known.add(run.identity)
                crew.lived()
                told(run, left + after)
            if not left:
                return self.done
            crew.tend()
            sleep(POLL)

    def _left(self) -> list[Job]:
        known = {run.identity for run in self.done}
        return [job for job in self.jobs if job.identity not in known]

    def _claim(self) -> None:
        """Writes what the rows are, or refuses to mix trainings that cannot be compared."""
        path = self.folder / "plan.json"
        then = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        changed = [
            f"row '{name}' {what} was {old}, is {new}"
            for name, now in self._plan().items()
            for what, old, new in differences(then.get(name, now), now)
        ]
        if changed:
            raise RunError(
                f"{self.folder} holds trainings of something else: {'; '.join(changed[:3])}; "
                "name another folder, or go back to what was trained there"
            )
        write_json(path, {**then, **self._plan()})

    def _plan(self) -> dict[str, Any]:
        """Returns what each row is, but for its seeds and its rate of progress."""
        return {
            job.row: {
                "network": job.network.hash,
                "recipe": settings(replace(job.recipe, seed=0)),
                "images": facts_of(self.images.images(job.network, job.recipe)),
            }
            for job in self.jobs
        }

    def _try(self, job: Job, told: Callable[[Run, int], None]) -> bool:
        """Trains a job unless it is done or another process is at it; says whether it did.

        Rows that are one network are one training, under the name of the first.
        """
        twin = next(each for each in self.jobs if each.identity == job.identity)
        home = self.folder / "trainings" / twin.name
        home.mkdir(parents=True, exist_ok=True)
        place = home.parent / f"{job.identity}.lock"
        with place.open("a+", encoding="utf-8") as lock:
            if hold(lock):
                return False
            left = job in self._left()
            if left:
                run = self._trained(job, home)
                self._write(run)
            place.unlink(missing_ok=True)  # who has it open finds the training done
        if not left:
            return False
        tidy(home)
        told(run, len(self._left()))
        return True

    def _trained(self, job: Job, home: Path) -> Run:
        network, recipe = job.network, job.recipe
        known: dict[str, Any] = {
            "row": job.row,
            "seed": recipe.seed,
            "identity": job.identity,
            "hash": network.hash,
            "costs": {name: int(getattr(network.graph, name)) for name in COSTS},
            "epochs": recipe.epochs,
            "lr": recipe.lr,
            "passes": 2 if recipe.sam else 1,
            "made": provenance(self.command),
        }
        data = self.images.images(network, recipe)
        known["seen"] = images_seen(data, recipe)
        model = nets.build(network, seed=recipe.seed)
        try:
            with fitting_threads(network.graph.macs, recipe.batch):
                result = train(
                    model, data, recipe, home, keep="last", processes=self.images.processes
                )
                answers = answer(model, data, "test", device=usual_device())
        except (DivergedError, MemoryError) as error:
            return Run(**known, reason=str(error))
        score = answers.score()
        return Run(
            **known,
            validation={name: getattr(result.last, name) for name in METRICS},
            scores={name: getattr(score, name) for name in METRICS},
            correct=_packed(answers.correct),
            seconds=result.seconds,
            processes=result.processes,
        )

    def _write(self, run: Run) -> None:
        """Adds a line, then writes the table for people anew."""
        path = self.folder / "results.jsonl"
        cut = path.exists() and not path.read_bytes().endswith(
            b"\n"
        )  # by a process that was killed
        with path.open("a", encoding="utf-8") as file:
            file.write("\n" * cut + json.dumps(asdict(run)) + "\n")
        write_csv(self.folder / "runs.csv", [run.flat() for run in self.done])


def read_runs(path: Path) -> Iterator[Run]:
    """Yields the finished trainings of a file; a line that was cut off is left out."""
    if not path.exists():
        return
    for line in path.read_text(encoding="utf-8").splitlines():
        with suppress(ValueError):
            yield Run(**json.loads(line))


def jobs_of(rows: Mapping[str, Spec], seeds: int) -> list[Job]:
    """Returns the trainings of rows, all rows of a seed before the next.

    A network gets the classes and channels of the images, whatever its paper had.

    Args:
        rows: Row -> its spec, with the images it is trained on.
        seeds: Trainings of each row, from the seed of its recipe on.
    """
    first = next(iter(rows.values()))
    facts = open_data(first.recipe, size=first.input.size).facts
    sets = [("classes", str(len(facts.classes))), ("input.channels", str(facts.channels))]
    specs = {name: spec.set(sets) for name, spec in rows.items()}
    return [
        Job(name, spec.network(), replace(spec.recipe, seed=spec.recipe.seed + turn))
        for turn in range(seeds)
        for name, spec in specs.items()
    ]


def _packed(correct: NDArray[np.bool_]) -> str:
    bits = np.packbits(correct).tobytes()
    return f"{len(correct)}:{base64.b85encode(zlib.compress(bits, 9)).decode()}"


def _unpacked(text: str) -> NDArray[np.bool_]:
    count, _, bits = text.partition(":")
    raw = np.frombuffer(zlib.decompress(base64.b85decode(bits)), dtype=np.uint8)
    return np.unpackbits(raw, count=int(count)).astype(np.bool_)
