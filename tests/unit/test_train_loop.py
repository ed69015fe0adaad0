from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from flopwise.dsl import Recipe
from flopwise.errors import RunError
from flopwise.train import (
    Data,
    DivergedError,
    Epoch,
    Stop,
    answer,
    evaluate,
    load_weights,
    open_data,
    train,
)
from tests.unit.pictures import SmallNet, write_pictures

PLAIN = Recipe(epochs=2, images=240, batch=32, lr=3e-3, flip=False, crop=1.0, warmup=0.5)
RICH = replace(
    PLAIN, epochs=6, crop=0.4, flip=True, augment="rand-m9-mstd0.5-inc1", erase=0.3, mixup=0.4,
    cutmix=0.4, ema=0.99, clip=1.0, dropout=0.0,
)  # fmt: skip
CHILD = """
import sys
import torch
from flopwise.train import open_data, train
from pathlib import Path
from tests.unit.pictures import SmallNet
from tests.unit.test_train_loop import RICH

torch.set_num_threads(int(sys.argv[2]))
print("ready", flush=True)
data = open_data(RICH, size=(8, 8))
train(SmallNet(1, 10), data, RICH, Path(sys.argv[1]), on_epoch=lambda e: print(e.epoch, flush=True))
"""


@pytest.fixture(scope="module")
def digits() -> Data:
    return open_data(PLAIN, size=(8, 8))


def net() -> SmallNet:
    return SmallNet(1, 10)


def state_of(folder: Path) -> dict[str, object]:
    found: dict[str, object] = torch.load(folder / "last.pt", weights_only=True)
    return found


def same(one: object, other: object) -> bool:
    """Compares nested states exactly; times are not part of them."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and torch.equal(one, other)
    if isinstance(one, dict) and isinstance(other, dict):
        timed = {"clock", "seconds", "images_per_second", "outside_share"}
        return one.keys() == other.keys() and all(
            same(one[k], other[k]) for k in one if k not in timed
        )
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def test_the_same_seed_gives_the_same_weights_bit_for_bit(tmp_path: Path, digits: Data) -> None:
    first = train(net(), digits, RICH, tmp_path / "a")
    torch.rand(3), np.random.rand(3), random.random()  # noqa: NPY002 - what is drawn outside
    second = train(net(), digits, RICH, tmp_path / "b")
    assert Path(first.weights).read_bytes() == Path(second.weights).read_bytes()
    assert same(state_of(tmp_path / "a"), state_of(tmp_path / "b"))
    other = train(net(), digits, replace(RICH, seed=1), tmp_path / "c")
    assert Path(first.weights).read_bytes() != Path(other.weights).read_bytes()


def test_a_training_leaves_the_global_generators_as_they_were(tmp_path: Path, digits: Data) -> None:
    random.seed(5), np.random.seed(5), torch.manual_seed(5)  # noqa: NPY002
    wanted = random.random(), np.random.rand(), torch.rand(()).item()  # noqa: NPY002
    random.seed(5), np.random.seed(5), torch.manual_seed(5)  # noqa: NPY002
    train(net(), digits, replace(RICH, epochs=1), tmp_path)
    assert (random.random(), np.random.rand(), torch.rand(()).item()) == wanted  # noqa: NPY002


def test_a_training_killed_with_sigkill_ends_as_if_nothing_had_happened(
    tmp_path: Path, digits: Data
) -> None:
    command = [sys.executable, "-c", CHILD, str(tmp_path / "killed"), str(torch.get_num_threads())]
    where = Path(__file__).parents[2]
    paths = os.pathsep.join([str(where), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as child:
        assert child.stdout
        for line in child.stdout:
            if line.strip() == "2":
                child.send_signal(signal.SIGKILL)
                break
    assert child.returncode == -signal.SIGKILL
    found = state_of(tmp_path / "killed")["history"]
    assert isinstance(found, list) and 2 <= len(found) < RICH.epochs
    told: list[int] = []
    resumed = train(
        net(), digits, RICH, tmp_path / "killed", on_epoch=lambda each: told.append(each.epoch)
    )
    whole = train(net(), digits, RICH, tmp_path / "whole")
    assert told == list(range(len(found) + 1, RICH.epochs + 1))
    assert Path(resumed.weights).read_bytes() == Path(whole.weights).read_bytes()
    assert same(state_of(tmp_path / "killed"), state_of(tmp_path / "whole"))
    lines = (tmp_path / "killed" / "epochs.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == list(range(1, RICH.epochs + 1))


def test_ctrl_c_passes_through_and_the_finished_epoch_is_on_disk(
    tmp_path: Path, digits: Data
) -> None:
    def interrupt(epoch: Epoch) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(net(), digits, PLAIN, tmp_path / "a", on_epoch=interrupt)
    resumed = train(net(), digits, PLAIN, tmp_path / "a")
    whole = train(net(), digits, PLAIN, tmp_path / "b")
    assert Path(resumed.weights).read_bytes() == Path(whole.weights).read_bytes()


def test_a_hook_can_stop_a_training_and_a_finished_one_is_not_repeated(
    tmp_path: Path, digits: Data
) -> None:
    def stop(epoch: Epoch) -> None:
        raise Stop

    stopped = train(net(), digits, PLAIN, tmp_path, on_epoch=stop)
    assert stopped.stopped and stopped.last.epoch == 1
    finished = train(net(), digits, PLAIN, tmp_path)
    assert not finished.stopped and finished.last.epoch == 2
    assert train(net(), digits, PLAIN, tmp_path, on_epoch=stop) == finished


def test_results_and_epochs_are_plain_json(tmp_path: Path, digits: Data) -> None:
    told: list[Epoch] = []
    result = train(net(), digits, PLAIN, tmp_path, on_epoch=told.append)
    assert json.loads(json.dumps(result.as_dict())) == result.as_dict()
    lines = (tmp_path / "epochs.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [each.as_dict() for each in told]
    assert result.history == tuple(told) and result.last is result.history[-1]
    assert result.images_per_second > 0 and 0 < result.outside_share < 1


def test_the_model_ends_with_the_weights_that_were_judged_best(
    tmp_path: Path, digits: Data
) -> None:
    model = net()
    result = train(model, digits, replace(PLAIN, ema=0.9, epochs=4), tmp_path)
    assert result.kind == result.best.weights == "ema"
    score = evaluate(model, digits, weights="ema")
    assert (score.top1, score.balanced) == (result.best.top1, result.best.balanced)
    fresh = SmallNet(1, 10, seed=9)
    load_weights(fresh, result.weights)
    assert evaluate(fresh, digits, weights="ema") == score
    assert result.best.top1 == max(each.top1 for each in result.history)


def test_a_network_learns_the_digits(tmp_path: Path, digits: Data) -> None:
    model = net()
    recipe = replace(PLAIN, images=0, epochs=6, lr=0.03, amp="bf16", smoothing=0.0)
    data = open_data(recipe, size=(8, 8))
    train(model, data, recipe, tmp_path)
    assert evaluate(model, data).top1 > 60
    answers = answer(model, data, "test")
    assert answers.score().top1 == 100 * answers.correct.mean()
    assert len(answers.correct) == 360 and data.test_opened


def test_balanced_accuracy_counts_every_class_alike(tmp_path: Path) -> None:
    root = write_pictures(tmp_path / "data", {"train": 12})
    for path in sorted((root / "train" / "disc").iterdir())[4:]:
        path.unlink()
    data = open_data(Recipe(data=str(root)), size=(16, 16))

    class Constant(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bias = nn.Parameter(torch.tensor([0.0, 1.0, 0.0]))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.bias.expand(len(x), 3)

    score = evaluate(Constant(), data, "train")
    share = (data.train.labels == 1).float().mean().item()
    assert score.top1 == pytest.approx(100 * share) and score.balanced == pytest.approx(100 / 3)


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("CUDA out of memory. Tried")])
def test_the_batch_is_halved_until_it_fits_and_the_gradient_stays(
    tmp_path: Path, digits: Data, error: Exception
) -> None:
    class Greedy(nn.Module):
        """Has memory for ten images."""

        def __init__(self, most: int) -> None:
            super().__init__()
            self.body, self.most = nn.Linear(64, 10), most
            nn.init.zeros_(self.body.weight), nn.init.zeros_(self.body.bias)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if len(x) > self.most and self.training:
                raise error
            return self.body(x.flatten(1))

    recipe = replace(PLAIN, opt="sgd", lr=0.1, epochs=1)
    small = train(Greedy(10), digits, recipe, tmp_path / "small")
    large = train(Greedy(1000), digits, recipe, tmp_path / "large")
    assert (small.piece, large.piece) == (8, 32)
    one, other = load_file(small.weights), load_file(large.weights)
    assert all(torch.allclose(one[key], other[key], atol=1e-6) for key in one)
    with pytest.raises(RunError, match="a single image does not fit the memory"):
        train(Greedy(0), digits, recipe, tmp_path / "none")


def test_another_error_of_the_network_is_not_taken_for_memory(tmp_path: Path, digits: Data) -> None:
    with pytest.raises(RuntimeError, match="channels"):
        train(SmallNet(3, 10), digits, PLAIN, tmp_path)


@pytest.mark.filterwarnings("ignore:overflow")
def test_a_loss_that_is_no_number_names_the_epoch_and_a_way_out(
    tmp_path: Path, digits: Data
) -> None:
    with pytest.raises(
        DivergedError, match=r"in epoch 1, step \d+: lower train.lr \(it is 1e\+30\)"
    ):
        train(net(), digits, replace(PLAIN, opt="sgd", lr=1e30, warmup=0.0), tmp_path)


@pytest.mark.parametrize(
    "settings",
    [
        {"sched": "none"},
        {"sched": "step", "epochs": 3},
        {"sched": "multistep", "opt": "sgd"},
        {"sched": "poly", "opt": "lamb"},
        {"sched": "tanh", "opt": "adan"},
        {"clip": 0.01, "clip_mode": "agc", "opt": "momentum"},
        {"clip": 0.5, "clip_mode": "value", "opt": "lion"},
        {"mixup": 0.8, "smoothing": 0.0},
        {"cutmix": 1.0, "erase": 0.5},
        {"augment": "original-mstd0.5"},
        {"augment": "v0"},
        {"augment": "3a"},
        {"batch": 1000},
    ],
    ids=lambda settings: " ".join(f"{key}={value}" for key, value in settings.items()),
)
def test_recipes_train(tmp_path: Path, digits: Data, settings: dict[str, object]) -> None:
    recipe = replace(PLAIN, **{"epochs": 1, **settings})  # type: ignore[arg-type]
    result = train(net(), digits, recipe, tmp_path)
    assert np.isfinite(result.last.train_loss) and len(result.history) == recipe.epochs


def test_the_schedule_warms_up_and_ends_at_its_minimum(tmp_path: Path, digits: Data) -> None:
    recipe = replace(PLAIN, epochs=4, warmup=2.0, lr=1e-2, min_lr=1e-5)
    rates = [each.lr for each in train(net(), digits, recipe, tmp_path).history]
    assert rates[0] < rates[1] <= 1e-2 and rates[1] > rates[2] > rates[3]
    assert rates[3] < 1e-3


def test_no_half_written_file_remains(tmp_path: Path, digits: Data) -> None:
    train(net(), digits, PLAIN, tmp_path)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["best.safetensors", "epochs.jsonl", "last.pt"]


def test_the_images_do_not_depend_on_the_dropout_of_the_network(
    tmp_path: Path, digits: Data
) -> None:
    class Watcher(SmallNet):
        """Remembers what it was shown."""

        def __init__(self, dropout: float) -> None:
            super().__init__(1, 10)
            self.drop.p = dropout
            self.shown: list[torch.Tensor] = []

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if self.training:
                self.shown.append(x.clone())
            return super().forward(x)

    with_dropout, without = Watcher(0.5), Watcher(0.0)
    for name, model in (("a", with_dropout), ("b", without)):
        train(model, digits, replace(RICH, epochs=1), tmp_path / name)
    assert all(map(torch.equal, with_dropout.shown, without.shown))


@pytest.mark.slow
def test_a_training_killed_again_and_again_at_any_moment_ends_the_same(
    tmp_path: Path, digits: Data
) -> None:
    command = [sys.executable, "-c", CHILD, str(tmp_path / "killed"), str(torch.get_num_threads())]
    where = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(where)}
    dice = np.random.default_rng(0)
    for _ in range(8):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as child:
            assert child.stdout and child.stdout.readline() == "ready\n"
            try:
                child.wait(dice.uniform(0.1, 2.0))
            except subprocess.TimeoutExpired:
                child.send_signal(signal.SIGKILL)
    resumed = train(net(), digits, RICH, tmp_path / "killed")
    whole = train(net(), digits, RICH, tmp_path / "whole")
    assert Path(resumed.weights).read_bytes() == Path(whole.weights).read_bytes()
    assert same(state_of(tmp_path / "killed"), state_of(tmp_path / "whole"))
