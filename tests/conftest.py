"""Set before anything imports torch: one thread, no network, one way for Hypothesis to run."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # `pytest -n auto` has a process for each core
os.environ.setdefault("MKL_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ["HF_HUB_OFFLINE"] = "1"  # a test that needs a download must fail, not wait
os.environ["PIP_NO_INDEX"] = "1"  # so a proof is of the installed timm alone
os.environ["COLUMNS"] = "100"  # the width that argparse and rich print for

# `from tests.parity.references import ...` works; an installed flopwise still comes first
sys.path.append(str(Path(__file__).parent.parent))

from hypothesis import settings

# The first example pays for the imports, so no example has a deadline. The same examples are drawn
# in every run; `pytest --hypothesis-profile explore` draws others.
settings.register_profile("house", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None, derandomize=False)
settings.load_profile("house")


@pytest.fixture(autouse=True, scope="session")
def nothing_is_kept_of_this_machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keeps what flopwise remembers and fetches out of the user's folders, and theirs out of it."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("config", "cache"):
            patch.setenv(f"XDG_{name.upper()}_HOME", str(tmp_path_factory.getbasetemp() / name))
        yield


@pytest.fixture(autouse=True)
def no_code_is_allowed_yet(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Keeps which code may run to one test, so that none leans on another's consent."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.getbasetemp() / "config" / unique()))


def unique() -> str:
    """Returns a name that no other test has."""
    return os.environ["PYTEST_CURRENT_TEST"].replace("/", "_")[-80:]
