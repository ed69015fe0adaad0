"""Stages become attributes of a torch module; the names it has already are refused."""

from __future__ import annotations

import torch

from flopwise.dsl import load
from flopwise.dsl.tables import RESERVED_STAGES
from flopwise.nets import build


def test_every_public_attribute_of_a_module_is_reserved() -> None:
    taken = {name for name in dir(torch.nn.Module()) if not name.startswith("_")}
    assert taken <= RESERVED_STAGES, taken - RESERVED_STAGES


def test_every_public_attribute_of_a_network_is_reserved() -> None:
    spec = load("std/vit_tiny_patch16_224", sets=[("net.body.depth", "1")])
    model = build(spec.network(), device="meta")
    stages = dict(model.named_children())
    taken = {name for name in dir(model) if not name.startswith("_")} - {*stages}
    assert taken <= RESERVED_STAGES, taken - RESERVED_STAGES
