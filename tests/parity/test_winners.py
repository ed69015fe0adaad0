"""Winners of random spaces, loaded, fine-tuned and used by a process that knows only timm.

Thirty of them, with every version of timm: python -m benchmarks.winners
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.winners import SPACES, ask, failed, job, winner
from flopwise.export import tier


@pytest.mark.slow
def test_strangers_load_tune_and_use_random_winners(tmp_path: Path) -> None:
    networks = [winner(number, 0, tmp_path) for number in range(len(SPACES))]
    jobs = [job(network, number, tmp_path) for number, network in enumerate(networks)]
    answers = ask(jobs, tmp_path, None)["answers"]
    wrong = {name: failed(each) for name, each in zip(SPACES, answers, strict=True)}
    assert not any(wrong.values()), json.dumps(wrong, indent=1)
    assert {tier(network).name for network in networks} == {"native", "carrier", "standalone"}
