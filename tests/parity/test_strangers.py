"""Specs that were written from the page of the language alone, held against torch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml
from torch.utils.flop_counter import FlopCounterMode

from flopwise import load
from flopwise.dsl import loads

SPECS = sorted((Path(__file__).parent / "strangers").glob("*.yaml"))


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_torch_counts_what_the_spec_counts(path: Path) -> None:
    design = load(path)
    graph = design.network.graph
    module = design.build().eval()
    images = torch.zeros(1, *graph.types[0].shape)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        result = module(images)
    first = result if isinstance(result, torch.Tensor) else result[0]
    assert counter.get_total_flops() == 2 * graph.macs
    assert sum(each.numel() for each in module.parameters()) == graph.params
    assert tuple(first.shape[1:]) == graph.types[graph.outputs[0]].shape


def turned(value: object, *, keep: bool = False) -> object:
    """Returns plain data with the keys of its maps the other way round, those of `net` kept."""
    if isinstance(value, list):
        return [turned(each) for each in value]
    if not isinstance(value, dict):
        return value
    items = [(key, turned(each, keep=key == "net")) for key, each in value.items()]
    return dict(items if keep else reversed(items))


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_the_order_of_keys_and_the_resolved_form_keep_the_hash(path: Path) -> None:
    text = path.read_text()
    spec = loads(text)
    other = yaml.safe_dump(turned(yaml.safe_load(text)), sort_keys=False)
    assert loads(other).network().hash == spec.network().hash
    resolved = spec.render()
    again = loads(resolved)
    assert again.network().hash == spec.network().hash
    assert again.render() == resolved
    assert not again.warnings


def test_the_law_of_regnet_gives_the_published_widths_and_depths() -> None:
    # groups of 8 keep the widths as the law gives them
    network = loads((SPECS[0].parent / "regnet.yaml").read_text(), sets=[("g", "8")]).network()
    stages = [stage for stage in network.stages if stage.name in ("s1", "s2", "s3", "s4")]
    depths = [stage.depth for stage in stages]
    widths = [stage.settings[0]["dim"] for stage in stages]
    assert (depths, widths) == ([1, 2, 7, 6], [24, 64, 152, 392])  # the law in NumPy
