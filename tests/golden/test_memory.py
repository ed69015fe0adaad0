"""Peak memory of a graph against what a dispatcher sees when the network runs on meta.

The network is run layer by layer: a layer is a module of PyTorch or of the runtime, or a function.
"""

from __future__ import annotations

import sys
import weakref
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import fx
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from flopwise import dsl, nets
from flopwise.blocks import BLOCKS, Graph
from flopwise.blocks.graph import TABLES
from flopwise.cost import VIEWS, peak_memory
from flopwise.dsl.shipped import presets, shipped_rows
from flopwise.nets.forms import FORMS
from flopwise.nets.runtime import Block, Network
from flopwise.testing import LayerKindCase
from flopwise.testing.checks import images


class Tracker(TorchDispatchMode):
    """Knows the memory that is alive and depends on the image."""

    def __init__(self, image: torch.Tensor) -> None:
        super().__init__()
        self.seen: dict[int, tuple[weakref.ref[Any], int]] = {}
        self._keep([image])

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        reads = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
        if any(_storage(x) in self.alive() for x in reads):
            self._keep([x for x in tree_leaves(out) if isinstance(x, torch.Tensor)])
        return out

    def alive(self) -> dict[int, int]:
        """Returns the bytes of every storage that something still holds."""
        self.seen = {key: entry for key, entry in self.seen.items() if entry[0]() is not None}
        return {key: size for key, (_, size) in self.seen.items()}

    def _keep(self, tensors: list[torch.Tensor]) -> None:
        for x in tensors:
            storage = x.untyped_storage()
            self.seen.setdefault(_storage(x), (weakref.ref(storage), storage.nbytes()))


def _storage(x: torch.Tensor) -> int:
    return x.untyped_storage()._cdata


class Layers(fx.Tracer):
    """Traces a network down to its layers and looks into none of them."""

    def __init__(self, model: Network) -> None:
        super().__init__(autowrap_modules=(sys.modules[type(model).__module__],))

    def is_leaf_module(self, m: torch.nn.Module, module_qualified_name: str) -> bool:
        return not isinstance(m, (Block, torch.nn.Sequential))


class Runner(fx.Interpreter):
    """Runs a network layer by layer and frees what no later layer reads.

    While a layer runs, its inputs are alive and so is what it puts out. What it makes and frees
    on the way is alive neither before it nor behind it.
    """

    def __init__(self, model: Network) -> None:
        super().__init__(fx.GraphModule(model, Layers(model).trace(model)))
        self.peak = 0

    def measure(self, shape: tuple[int, ...]) -> int:
        start = next(iter(self.graph.nodes))
        held = {start: torch.empty(1, *shape, device="meta")}  # nothing else holds the image
        self.tracker = Tracker(held[start])
        with self.tracker:
            self.run(initial_env=held)
        return self.peak

    def run_node(self, n: fx.Node) -> Any:
        before = self.tracker.alive()
        out = super().run_node(n)
        self.peak = max(self.peak, sum((before | self.tracker.alive()).values()))
        return out

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        if target is F.scaled_dot_product_attention:  # one step wherever it is fused
            return torch.empty_like(args[2])
        return super().call_function(target, args, kwargs)


@torch.no_grad()
def measured(graph: Graph) -> int:
    return Runner(nets.build(graph, device="meta").eval()).measure(graph.inputs[0].shape)


NAMES = [  # one of every family of layers
    *("resnet50", "seresnet50", "resnet50_ghost", "regnety_160", "convnext_tiny"),
    *("convnext_isotropic_small", "convnextv2_atto", "densenet121", "mobilenetv1_100"),
    *("mobilenetv2_100", "mobilenetv3_large_100", "ghostnet_100", "dm_nfnet_f0", "nfnet_f0"),
    *("vit_tiny_patch16_224", "swin_tiny_patch4_window7_224", "t2t_vit_7", "t2t_vit_t_14"),
    *("t2t_vit_14_resnext", "t2t_vit_16_ghost", "vit_small_r26_s32_224"),
]


class Kinds(LayerKindCase):
    blocks = tuple(BLOCKS.values())


KINDS = Kinds()
ONE_HEAD = "merge_heads"
"""A copy, but for a single head, and no block of the vocabulary has it with more."""
OTHERS = sorted({*presets(), *(row for _, row in shipped_rows())} - set(NAMES))


@pytest.mark.parametrize("name", NAMES)
def test_peak_memory_is_what_a_dispatcher_sees(name: str) -> None:
    graph = dsl.load(f"std/{name}").network().graph
    assert measured(graph) == peak_memory(graph)


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_so_it_is_of_the_other_shipped_networks(name: str) -> None:
    test_peak_memory_is_what_a_dispatcher_sees(name)


@torch.no_grad()
@pytest.mark.parametrize("kind", sorted(set(FORMS) - {*TABLES, ONE_HEAD}))
def test_a_layer_kind_is_a_view_where_its_output_is_no_new_memory(kind: str) -> None:
    assert all(map(is_view, KINDS.layers(kind))) == (kind in VIEWS)


def is_view(graph: Graph) -> bool:
    layer = nets.build(graph, device="meta").eval().get_submodule("layer")
    inputs = [images(type, 2, device="meta") for type in graph.inputs[1:]]
    return _storage(layer(*inputs)) in map(_storage, inputs)
