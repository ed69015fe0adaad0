"""What a search tells whoever watches it; the base class tells nobody."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flopwise.search.candidates import Probe
from flopwise.search.identity import epochs_of
from flopwise.search.record import FinalRow, TrialRow
from flopwise.search.strategy import Rungs, trainings_of

__all__ = ["Plan", "Watch"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a search is about to do, said before it starts.

    Attributes:
        probe: What a look at the space found.
        rungs: Length and number of the trainings wanted, those of earlier sessions included.
        done: Trainings that earlier sessions finished.
        epochs: Epochs of a full training.
        images: Training images of one epoch; 0 when nothing is trained.
        finals: Trainings of the last step.
        final_epochs: Epochs of each of them.
    """

    probe: Probe
    rungs: Rungs
    done: int
    epochs: int
    images: int
    finals: int
    final_epochs: int

    @property
    def trials(self) -> int:
        """Trainings wanted in all."""
        return trainings_of(self.rungs)

    @property
    def lengths(self) -> list[tuple[int, int]]:
        """Number of the trainings and epochs of each, from short to full."""
        return [(count, epochs_of(self.epochs, share)) for share, count in self.rungs]

    @property
    def total_images(self) -> int:
        """Images that trials and finals pass through the network, seen from the start."""
        trials = sum(count * epochs for count, epochs in self.lengths)
        return self.images * (trials + self.finals * self.final_epochs)


class Watch:
    """Told of everything that happens, in order; a subclass shows what it cares about."""

    def tables(self, share: float) -> None:
        """So much of the tables of costs is filled; told only where that takes long."""

    def scored(self, count: int) -> None:
        """So many networks were scored without training by this process."""

    def plan(self, plan: Plan) -> None:
        """The search is about to start or to go on."""

    def begin(self, row: TrialRow, of: int) -> None:
        """A trial starts, or is taken back where a stopped process left it."""

    def epoch(self, epoch: int, of: int, scores: Mapping[str, float]) -> None:
        """An epoch of the current training is on disk."""

    def end(self, row: TrialRow, best: TrialRow | None, left: float | None) -> None:
        """A trial ended; `left` is the estimate of the seconds to go, finals included."""

    def front(self, rows: Sequence[TrialRow], several: bool) -> None:
        """The best trial so far, or with several objectives those that no other beats."""

    def begin_final(self, name: str, seed: int, number: int, of: int) -> None:
        """A fresh training of the last step starts."""

    def end_final(
        self, name: str, seed: int, scores: Mapping[str, float], reason: str, left: float | None
    ) -> None:
        """A fresh training ended, with its test scores or why it failed; seconds to go."""

    def finals(self, rows: Sequence[FinalRow], text: str) -> None:
        """The last step is over."""

    def workers(self, doing: Sequence[str]) -> None:
        """What each worker of a search does now."""

    def note(self, text: str) -> None:
        """Something a person should know."""

    def close(self) -> None:
        """Nothing more will be told."""
