"""Small trainings take one thread, large ones all, and the environment has the last word."""

from __future__ import annotations

import pytest
import torch

from flopwise.train import fitting_threads

SMALL, LARGE = (1_000_000, 64), (4_000_000_000, 64)


@pytest.mark.parametrize(("work", "threads"), [(SMALL, 1), (LARGE, 2)])
def test_small_steps_take_one_thread_and_give_the_others_back(
    work: tuple[int, int], threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS")
    torch.set_num_threads(2)
    with fitting_threads(*work):
        assert torch.get_num_threads() == threads
    assert torch.get_num_threads() == 2


def test_the_environment_has_the_last_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    torch.set_num_threads(2)
    with fitting_threads(*SMALL):
        assert torch.get_num_threads() == 2
