"""Peak memory of a graph against what a dispatcher sees when the network runs on meta."""

from __future__ import annotations

import weakref
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import fx
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from flopwise import dsl, nets
from flopwise.blocks import Graph
from flopwise.cost import peak_memory


class Tracker(TorchDispatchMode):
    """Adds up the memory that depends on the image, from the start of one operator to the next.

    While an operator runs, its inputs are alive and so is what it puts out. Statistics that a norm
    returns beside its output are freed at once; they are alive at no start.
    """

    def __init__(self, image: torch.Tensor) -> None:
        super().__init__()
        self.alive: dict[int, tuple[weakref.ref[Any], int]] = {}
        self.before: dict[int, int] = {}
        self.peak = 0
        self._keep([image])

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.close()
        out = func(*args, **(kwargs or {}))
        reads = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
        if any(_storage(x) in self.alive for x in reads):
            self._keep([x for x in tree_leaves(out) if isinstance(x, torch.Tensor)])
        return out

    def close(self) -> None:
        """Notes what the last operator held: what was there before it, and what it left."""
        self.alive = {key: entry for key, entry in self.alive.items() if entry[0]() is not None}
        now = {key: size for key, (_, size) in self.alive.items()}
        self.peak = max(self.peak, sum((self.before | now).values()))
        self.before = now

    def _keep(self, tensors: list[torch.Tensor]) -> None:
        for x in tensors:
            storage = x.untyped_storage()
            self.alive.setdefault(_storage(x), (weakref.ref(storage), storage.nbytes()))


def _storage(x: torch.Tensor) -> int:
    return x.untyped_storage()._cdata


class Runner(fx.Interpreter):
    """Runs a network node by node and frees what no later node reads."""

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        if target is F.scaled_dot_product_attention:  # one step wherever it is fused
            return torch.empty_like(args[2])
        return super().call_function(target, args, kwargs)


@torch.no_grad()
def measured(graph: Graph) -> int:
    model = fx.symbolic_trace(nets.build(graph, device="meta").eval())
    start = next(iter(model.graph.nodes))
    held = {start: torch.empty(1, *graph.inputs[0].shape, device="meta")}
    with Tracker(held[start]) as tracker:
        Runner(model).run(initial_env=held)
        tracker.close()
    return tracker.peak


NAMES = [
    "resnet50",
    "convnext_tiny",
    "densenet121",
    "mobilenetv2_100",
    "ghostnet_100",
    "dm_nfnet_f0",
    "vit_tiny_patch16_224",
    "swin_tiny_patch4_window7_224",
    "t2t_vit_7",
    "vit_small_r26_s32_224",
]


@pytest.mark.parametrize("name", NAMES)
def test_peak_memory_is_what_a_dispatcher_sees(name: str) -> None:
    graph = dsl.load(f"std/{name}").network().graph
    assert measured(graph) == peak_memory(graph)
