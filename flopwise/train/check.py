"""Whether a recipe can be followed, told before anything is trained."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from timm.optim import get_optimizer_info
from torch import Generator, nn
from torch.optim import SGD

from flopwise.dsl.recipe import Recipe
from flopwise.errors import Fault, SpecError
from flopwise.train.augment import picture_transform
from flopwise.train.batches import batches
from flopwise.train.data import Data
from flopwise.train.faults import refusal
from flopwise.train.group import Group
from flopwise.train.tools import make_optimizer, make_schedule

__all__ = ["wrong_settings"]


def wrong_settings(data: Data, recipe: Recipe, processes: int = 1) -> Iterator[tuple[str, Fault]]:
    """Yields every setting that cannot be followed, as `train.opt`, and what is wrong with it.

    What only the network can tell, such as sizes that it cannot take, is not among them.

    Args:
        data: The images.
        recipe: The recipe.
        processes: How many share the training.
    """
    plain = replace(recipe, layer_decay=1.0)
    looks: tuple[tuple[str, Callable[[], object]], ...] = (
        ("train.images", lambda: data.cut.refuse_sample(recipe.images)),
        ("train.opt", lambda: _shared_optimizer(plain, processes)),
        ("train.sched", lambda: make_schedule(SGD(_small().parameters()), recipe, 1)),
        ("train.augment", lambda: picture_transform(recipe, data.facts)),
        ("train.batch", lambda: batches(data, recipe, Generator(), Group(size=processes))),
    )
    for setting, look in looks:
        try:
            look()
        except SpecError as error:
            yield from ((setting, fault) for fault in error.faults)


def _shared_optimizer(recipe: Recipe, processes: int) -> None:
    """Makes an optimizer; refuses one whose steps several processes cannot take together."""
    make_optimizer(_small(), recipe)
    if processes > 1 and get_optimizer_info(recipe.opt.lower()).second_order:
        raise refusal(
            "E513",
            f"train.opt '{recipe.opt}' needs second derivatives, which {processes} processes "
            "cannot average",
            helps=["train with one GPU, or choose another optimizer"],
        )


def _small() -> nn.Module:
    """Returns a module with parameters as convolutions, norms and linear layers have them."""
    return nn.ParameterList(torch.zeros(shape) for shape in ((2, 1, 3, 3), (2,), (2, 2)))
