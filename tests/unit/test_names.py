"""Stages become attributes of a torch module; the names it has already are refused."""

from __future__ import annotations

import torch

from flopwise.dsl.tables import RESERVED_STAGES


def test_every_public_attribute_of_a_module_is_reserved() -> None:
    taken = {name for name in dir(torch.nn.Module()) if not name.startswith("_")}
    assert taken <= RESERVED_STAGES, taken - RESERVED_STAGES
