"""A training that several processes share: what one process gives, for the same recipe.

The processes are forks of one that has only imported torch, a group as torchrun makes it but
without its seconds of imports; test_train_torchrun.py has the real one. They are no forks of the
test: once something was compiled there, autograd has threads, and its forks cannot train.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
import torch
from torch import nn

from flopwise.dsl import Recipe, loads
from flopwise.errors import RunError, SpecError
from flopwise.search.crew import dealt
from flopwise.search.evaluators import evaluator_of
from flopwise.train import Data, DivergedError, Epoch, Stop, answer, open_data, train
from flopwise.train.batches import batches
from flopwise.train.group import Group
from flopwise.train.loop import train_here
from tests.searches import tiny
from tests.unit.pictures import SmallNet

PLAIN = Recipe(epochs=2, images=240, batch=24, lr=3e-3, crop=1.0, warmup=0.5)
RICH = replace(PLAIN, augment="rand-m9-mstd0.5-inc1", erase=0.5, mixup=0.4, cutmix=0.4, ema=0.9)
CPU = torch.device("cpu")


def _member(rank: int, size: int, port: int, work: bytes, answers: Any) -> None:
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(size),
        "MASTER_ADDR": "localhost",
        "MASTER_PORT": str(port),
    }
    torch.set_num_threads(1)
    try:
        answers.put((rank, cloudpickle.loads(work)(Group.joined("cpu"))))
    except Exception as error:
        answers.put((rank, error))


def together(size: int, work: Callable[[Group], Any]) -> list[Any]:
    """Returns what each process of a group gives; raises what the first of them raised."""
    with closing(socket.socket()) as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    context = get_context("forkserver")
    context.set_forkserver_preload(["torch", "flopwise.train.loop"])
    answers, packed = context.SimpleQueue(), cloudpickle.dumps(work)
    several = [
        context.Process(target=_member, args=(rank, size, port, packed, answers))
        for rank in range(size)
    ]
    for each in several:
        each.start()
    found = dict(answers.get() for _ in several)
    for each in several:
        each.join()
    given = [found[rank] for rank in range(size)]
    for each in given:
        if isinstance(each, Exception):
            raise each
    return given


class Dense(nn.Module):
    """No batch norm; a parameter that the logits do not depend on; the inputs are kept."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.hidden, self.out = nn.Linear(64, 32), nn.Linear(32, 10)
            self.idle = nn.Parameter(torch.ones(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.hidden(x.flatten(1)).relu())


def net() -> nn.Module:
    """Has batch norms, and no dropout, whose draws belong to the processes."""
    made = SmallNet(1, 10)
    made.drop.p = 0.0
    return made


@pytest.fixture(scope="module")
def digits() -> Data:
    return open_data(PLAIN, size=(8, 8))


def run(
    make: Callable[[], nn.Module],
    data: Data,
    recipe: Recipe,
    folder: Path,
    group: Group,
    **options: Any,
) -> list[dict[str, Any]]:
    folder.mkdir(parents=True, exist_ok=True)
    result = train_here(make(), data, recipe, folder, CPU, group=group, **options)
    return [each.as_dict() for each in result.history]


def state_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = torch.load(folder / "last.pt", weights_only=True)
    return found


def close(one: Path, other: Path) -> None:
    """Compares the weights and statistics of two trainings to float precision."""
    first, second = state_of(one), state_of(other)
    for key, value in first["model"].items():
        torch.testing.assert_close(value, second["model"][key], rtol=1e-4, atol=2e-5)
    for then, now in zip(first["history"], second["history"], strict=True):
        assert now["train_loss"] == pytest.approx(then["train_loss"], abs=1e-5)
        assert now["top1"] == pytest.approx(then["top1"], abs=0.25)  # a tie or so
        assert now["loss"] == pytest.approx(then["loss"], abs=1e-4)


@pytest.mark.parametrize(
    ("make", "settings"),
    [
        (Dense, {"opt": "sgd", "lr": 0.1, "batch": 300}),
        (Dense, {"clip": 0.01, "clip_mode": "agc", "opt": "momentum", "repeats": 3}),
        (net, {"flip": False}),
        (net, {"crop": 0.3, "ema": 0.9, "clip": 1.0}),
        (net, {"sam": 0.05}),
    ],
    ids=lambda value: value.__name__ if callable(value) else "-".join(value),
)
def test_two_processes_train_what_one_trains(
    tmp_path: Path, digits: Data, make: Callable[[], nn.Module], settings: dict[str, Any]
) -> None:
    # with Adam, biases before a norm would move by the noise of their gradients, which are 0
    recipe = replace(PLAIN, **{"opt": "sgd", "lr": 0.05, **settings})
    train(make(), digits, recipe, tmp_path / "one")
    histories = together(2, partial(run, make, digits, recipe, tmp_path / "two"))
    one, two = ([(e["top1"], e["loss"], e["train_loss"]) for e in h] for h in histories)
    assert one == two
    close(tmp_path / "one", tmp_path / "two")


def test_a_group_of_two_goes_on_as_one_process_and_ends_where_one_would_have(
    tmp_path: Path, digits: Data
) -> None:
    recipe = replace(PLAIN, opt="sgd", lr=0.05, ema=0.9, epochs=3)

    def stop(epoch: Epoch) -> None:
        if epoch.epoch == 1:
            raise Stop

    stopped = together(2, partial(run, net, digits, recipe, tmp_path / "two", on_epoch=stop))
    assert [len(history) for history in stopped] == [1, 1]
    result = train(net(), digits, recipe, tmp_path / "two")
    assert (result.piece, len(result.history)) == (24, 3)
    train(net(), digits, recipe, tmp_path / "one")
    close(tmp_path / "one", tmp_path / "two")


def test_all_randomness_comes_back_when_a_group_goes_on(tmp_path: Path, digits: Data) -> None:
    def stop(epoch: Epoch) -> None:
        raise Stop

    def whole(group: Group) -> None:
        run(lambda: SmallNet(1, 10), digits, RICH, tmp_path / "whole", group)

    def pieces(group: Group) -> None:
        run(lambda: SmallNet(1, 10), digits, RICH, tmp_path / "cut", group, on_epoch=stop)
        run(lambda: SmallNet(1, 10), digits, RICH, tmp_path / "cut", group)

    together(2, whole)
    together(2, pieces)
    first, second = state_of(tmp_path / "whole"), state_of(tmp_path / "cut")
    assert all(torch.equal(value, second["model"][key]) for key, value in first["model"].items())
    assert sorted(p.name for p in (tmp_path / "cut").iterdir()) == [
        "best.safetensors",
        "epochs.jsonl",
        "last.pt",
    ]


def test_processes_see_the_images_of_one_in_shares_and_vary_them_each_in_its_own_way(
    digits: Data,
) -> None:
    def seen(recipe: Recipe, group: Group) -> tuple[torch.Tensor, torch.Tensor]:
        torch.manual_seed(0)
        source = batches(digits, recipe, torch.Generator().manual_seed(3), group)
        return next(iter(source.epoch()))

    pixels, labels = seen(PLAIN, Group())
    for rank in range(3):
        some, right = seen(PLAIN, Group(rank, 3))
        assert torch.equal(some, pixels[rank::3]) and torch.equal(right, labels[rank::3])
    erased = replace(PLAIN, erase=1.0)
    holes = [seen(erased, Group(rank, 2))[0] != seen(PLAIN, Group(rank, 2))[0] for rank in (0, 1)]
    assert not torch.equal(*holes)


def test_three_processes_judge_every_image_once_and_all_know_all_answers(digits: Data) -> None:
    model = net()
    judged = together(3, lambda group: answer(model, digits, digits.validation, group=group))
    alone = answer(model, digits)
    for each in judged:
        assert (each.said == alone.said).all() and (each.losses == alone.losses).all()
        assert each.score() == alone.score()


def test_gradients_in_pieces_are_those_of_the_whole_batch(tmp_path: Path, digits: Data) -> None:
    recipe = replace(PLAIN, opt="sgd", lr=0.1)
    train(Dense(), digits, recipe, tmp_path / "one")
    together(2, partial(run, Dense, digits, recipe, tmp_path / "two", piece=5))
    assert state_of(tmp_path / "two")["piece"] == 5
    close(tmp_path / "one", tmp_path / "two")


@pytest.mark.filterwarnings("ignore:overflow")
def test_a_loss_that_is_no_number_in_one_process_ends_all_of_them(
    tmp_path: Path, digits: Data
) -> None:
    def work(group: Group) -> str:
        model = Dense()
        if group.rank == 1:
            model.out.register_forward_hook(lambda module, inputs, out: out * float("nan"))
        with pytest.raises(DivergedError) as caught:
            run(lambda: model, digits, PLAIN, tmp_path, group)
        return str(caught.value)

    said = together(2, work)
    assert said[0] == said[1] and "in epoch 1, step 1" in said[0]


@pytest.mark.parametrize(
    ("settings", "processes", "message", "help_"),
    [
        ({"batch": 64}, 3, "train.batch is 64, which 3 processes", "write train.batch: 63 or 66"),
        ({"batch": 12, "mixup": 0.2}, 4, "cannot share evenly in pairs", "train with 3 GPUs"),
        ({"batch": 512}, 7, "a batch is all 240 training images", "write train.batch: 238"),
        ({"opt": "adahessian"}, 2, "needs second derivatives", "choose another optimizer"),
    ],
)
def test_what_several_processes_cannot_share_is_refused_before_they_start(
    tmp_path: Path,
    digits: Data,
    settings: dict[str, Any],
    processes: int,
    message: str,
    help_: str,
) -> None:
    with pytest.raises(SpecError, match=message) as caught:
        train(net(), digits, replace(PLAIN, **settings), tmp_path, processes=processes)
    assert help_ in " ".join(caught.value.faults[0].helps)


def test_a_machine_with_fewer_gpus_than_a_training_takes_says_what_to_write() -> None:
    assert dealt(["3", "GPU-5e", "1"], 2) == ("3,GPU-5e",) and dealt([], 2) == ()
    with pytest.raises(RunError, match=r"takes 4 GPUs, and there are 2 .* --gpus-per-trial 2"):
        dealt(["0", "1"], 4, "--gpus-per-trial")


def test_a_search_that_trains_nothing_has_no_use_for_several_gpus() -> None:
    spec = loads(
        tiny("""
vars: {w: 8, d: 1}
search:
  space: {w: {range: [4, 16]}}
  objective: {maximize: score}
  evaluator: {score: params, insist: true}
""")
    )
    with pytest.raises(RunError, match="'score' trains nothing that 2 GPUs could share"):
        evaluator_of(spec, processes=2)
