"""One training of the written network, kept in a folder that can be resumed and exported."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from flopwise import nets
from flopwise.cost import cost
from flopwise.dsl import Network, Recipe, Spec
from flopwise.errors import RunError
from flopwise.nets.inherit import Start, inherit
from flopwise.search.files import write_text
from flopwise.search.folder import StudyFolder
from flopwise.search.identity import trial_identity
from flopwise.search.manifest import provenance
from flopwise.search.settings import refuse_settings
from flopwise.search.training import described, settled, shared_by
from flopwise.search.winner import Winner, write_winner
from flopwise.train import (
    Data,
    Epoch,
    Result,
    Score,
    evaluate,
    fitting_threads,
    train,
    usual_device,
)

__all__ = ["train_written"]

METRICS = ("top1", "balanced", "loss")


def train_written(
    spec: Spec,
    home: Path,
    *,
    on_epoch: Callable[[Epoch], None] | None = None,
    on_note: Callable[[str], None] | None = None,
    start: Start | None = None,
    command: str = "",
    processes: int = 1,
) -> Winner:
    """Trains, or goes on with the training in `home`, then opens the test split once."""
    with StudyFolder(home):
        spec, data = settled(spec)
        refuse_settings([spec], data, processes)
        for note in (described(data), *data.notes, *shared_by(processes)):
            (on_note or _nobody)(note)
        network, recipe = spec.network(), spec.recipe
        _claim(home, network, recipe, start)
        model = nets.build(network, seed=recipe.seed)
        if start:
            taken = inherit(model, network, start)
            (on_note or _nobody)(f"weights from {start.place}:\n{taken}")
        with fitting_threads(network.graph.macs, recipe.batch):
            result = train(model, data, recipe, home, on_epoch=on_epoch, processes=processes)
            test = evaluate(model, data, "test", weights=result.kind, device=usual_device())
        winner = _winner(network, recipe, data, result, test)
        if start:
            told = {"from": start.place, "sha256": start.digest, "tensors": taken.as_dict()}
            winner = replace(winner, data={**winner.data, "start": told})
        write_winner(home, spec, winner, provenance(command))
        return winner


def _claim(home: Path, network: Network, recipe: Recipe, start: Start | None) -> None:
    """Marks the folder as that of this training, or refuses to mix two of them."""
    mark, identity = home / "identity", trial_identity(network, recipe)
    if start:
        identity = f"{identity} from {start.digest}"
    if not mark.exists():
        write_text(mark, identity + "\n")
        return
    held, _, begun = mark.read_text(encoding="utf-8").strip().partition(" from ")
    if held != identity.partition(" ")[0]:
        raise RunError(
            f"{home} holds a training of another network or recipe; "
            "name another folder, or go back to what was trained there"
        )
    if begun != (start.digest if start else ""):
        then = (
            f"with the weights of SHA-256 {begun[:16]}..." if begun else "with weights of its own"
        )
        raise RunError(
            f"{home} holds a training that began {then}; name another folder, or begin it "
            f"{'from those again' if begun else 'without others'}"
        )


def _winner(network: Network, recipe: Recipe, data: Data, result: Result, test: Score) -> Winner:
    costs = cost(network.graph)
    return Winner(
        name="written",
        trial=None,
        picks={},
        hash=network.hash,
        costs={name: getattr(costs, name) for name in ("macs", "params", "activations")},
        weights=Path(result.weights),
        kind=result.kind,
        seed=recipe.seed,
        search={},
        validation={name: getattr(result.best, name) for name in METRICS},
        test={name: getattr(test, name) for name in METRICS},
        data={**data.facts.as_dict(), "class_names": list(data.facts.classes)},
    )


def _nobody(note: str) -> None:
    """Hears nothing."""
