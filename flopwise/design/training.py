"""One training of the written network, kept in a folder that can be resumed and exported."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from flopwise import nets
from flopwise.cost import cost
from flopwise.dsl import Network, Recipe, Spec
from flopwise.errors import RunError
from flopwise.search.files import write_text
from flopwise.search.folder import StudyFolder
from flopwise.search.identity import trial_identity
from flopwise.search.manifest import provenance
from flopwise.search.training import described, settled
from flopwise.search.winner import Winner, write_winner
from flopwise.train import Data, Epoch, Result, Score, evaluate, fitting_threads, train

__all__ = ["train_written"]

METRICS = ("top1", "balanced", "loss")


def train_written(
    spec: Spec,
    home: Path,
    *,
    on_epoch: Callable[[Epoch], None] | None = None,
    on_note: Callable[[str], None] | None = None,
    command: str = "",
) -> Winner:
    """Trains, or goes on with the training in `home`, then opens the test split once."""
    with StudyFolder(home):
        spec, data = settled(spec)
        for note in (described(data), *data.notes):
            (on_note or _nobody)(note)
        network, recipe = spec.network(), spec.recipe
        _claim(home, network, recipe)
        model = nets.build(network, seed=recipe.seed)
        with fitting_threads(network.graph.macs, recipe.batch):
            result = train(model, data, recipe, home, on_epoch=on_epoch)
            test = evaluate(model, data, "test", weights=result.kind)
        winner = _winner(network, recipe, data, result, test)
        write_winner(home, spec, winner, provenance(command))
        return winner


def _claim(home: Path, network: Network, recipe: Recipe) -> None:
    """Marks the folder as that of this training, or refuses to mix two of them."""
    mark, identity = home / "identity", trial_identity(network, recipe)
    if mark.exists() and mark.read_text(encoding="utf-8").strip() != identity:
        raise RunError(
            f"{home} holds a training of another network or recipe; "
            "name another folder, or go back to what was trained there"
        )
    write_text(mark, identity + "\n")


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
