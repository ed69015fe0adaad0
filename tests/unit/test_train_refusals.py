"""Recipes that cannot be followed, and folders that hold another training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from torch import nn

from flopwise.errors import RunError, SpecError
from flopwise.train import Data, open_data, train
from tests.unit.test_train_loop import PLAIN, net


@pytest.fixture(scope="module")
def digits() -> Data:
    return open_data(PLAIN, size=(8, 8))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"opt": "adamv"}, "train.opt 'adamv' is not known"),
        ({"sched": "cosin"}, "did you mean 'cosine'"),
        ({"augment": "rand-x9"}, "timm does not understand 'rand-x9'"),
        ({"augment": "augmix-m5-w2"}, "augmix needs coloured images"),
        ({"augment": "random"}, "timm does not understand 'random'"),
        ({"mixup": 0.2, "batch": 33}, "mix pairs"),
        ({"drop_path": 0.1}, "SmallNet has no set_drop_path"),
        ({"dropout": 0.1}, "SmallNet has no set_dropout"),
    ],
)
def test_a_recipe_that_cannot_be_followed_is_explained(
    tmp_path: Path, digits: Data, settings: dict[str, object], message: str
) -> None:
    with pytest.raises(SpecError, match=message):
        train(net(), digits, replace(PLAIN, **settings), tmp_path)  # type: ignore[arg-type]


def _other_recipe(folder: Path, digits: Data) -> None:
    train(net(), digits, replace(PLAIN, lr=0.5), folder)


def _other_network(folder: Path, digits: Data) -> None:
    train(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), digits, PLAIN, folder)


def _damaged(folder: Path, digits: Data) -> None:
    (folder / "last.pt").write_bytes(b"half a file")
    train(net(), digits, PLAIN, folder)


@pytest.mark.parametrize(
    ("attempt", "message"),
    [
        (_other_recipe, "holds another training: lr was 0.003, is 0.5"),
        (_other_network, "holds a training of another network"),
        (_damaged, "cannot be read; delete it to start afresh"),
    ],
)
def test_a_folder_is_never_continued_with_something_else(
    tmp_path: Path, digits: Data, attempt: Callable[[Path, Data], None], message: str
) -> None:
    train(net(), digits, replace(PLAIN, epochs=2), tmp_path)
    with pytest.raises(RunError, match=message):
        attempt(tmp_path, digits)
