"""What the suites share: counting a module, its gradients, and the forms PyTorch gives it."""

from __future__ import annotations

import copy
import pickle
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from flopwise import nets
from flopwise.blocks import Graph, Type

__all__ = [
    "check_counts",
    "check_forms",
    "check_gradients",
    "check_independence",
    "check_layouts",
    "check_learning",
    "images",
    "roughened",
]

aten = torch.ops.aten


def images(type: Type, batch: int, **options: Any) -> Tensor:
    """Returns inputs of a type; tables have no batch axis."""
    shape = type.shape if type.kind == "table" else (batch, *type.shape)
    generator = torch.Generator().manual_seed(0)
    return torch.randn(shape, generator=generator).to(**options)


def roughened(model: nn.Module, std: float = 0.3, *, seed: int = 1) -> nn.Module:
    """Redraws all parameters: fresh gains of 0 or 1e-6 would hide whole branches."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * std)
    return model


class _Products(TorchDispatchMode):
    """Counts the elements that convolutions and matrix products put out."""

    KINDS = frozenset({aten.convolution, aten.mm, aten.addmm, aten.bmm, aten.baddbmm})

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.elements = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        if func.overloadpacket in self.KINDS:
            self.elements += out.numel()
        return out


def check_counts(graph: Graph, run: Callable[[nn.Module, list[Tensor]], Any]) -> None:
    """Symbolic keys, parameters, MACs and activations are those of the module, built on meta.

    Args:
        graph: The graph.
        run: Calls the module of the graph on its inputs.
    """
    model = nets.build(graph, device="meta").eval()
    state = model.state_dict()
    assert list(state) == list(graph.keys())
    assert {key: tuple(value.shape) for key, value in state.items()} == graph.keys()
    assert sum(parameter.numel() for parameter in model.parameters()) == graph.params
    inputs = [images(type, 1, device="meta") for type in graph.inputs]
    with FlopCounterMode(display=False) as counter:
        run(model, inputs)
    assert counter.get_total_flops() == 2 * graph.macs
    with _Products() as products:
        run(model, inputs)
    assert products.elements == graph.activations


def check_independence(model: nn.Module, x: Tensor) -> None:
    """In evaluation no image of a batch sees another."""
    with torch.no_grad():
        torch.testing.assert_close(model(x)[1:2], model(x[1:2]))


def check_learning(model: nn.Module, x: Tensor) -> None:
    """Every parameter gets a gradient, for some weights: a narrow ReLU may be dead for others."""
    silent = {name for name, _ in model.named_parameters()}
    for seed in range(16):
        if not silent:
            return
        out = roughened(model, seed=seed)(x)
        model.zero_grad()
        (out * torch.randn_like(out)).sum().backward()
        silent -= {n for n, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    assert silent == set()


def check_gradients(model: nn.Module, *inputs: Tensor) -> None:
    """Gradients agree with finite differences; the module and its inputs are in float64."""
    names = [name for name, _ in model.named_parameters()]
    parameters = [each.detach().requires_grad_() for each in model.parameters()]

    def run(*values: Tensor) -> Tensor:
        state = dict(zip(names, values[len(inputs) :], strict=True))
        found: Tensor = torch.func.functional_call(model, state, values[: len(inputs)])
        return found

    starts = [x.requires_grad_() for x in inputs]
    assert torch.autograd.gradcheck(run, (*starts, *parameters), fast_mode=True, nondet_tol=1e-9)


def check_layouts(model: nn.Module, x: Tensor) -> None:
    """Channels-last images give the same, and bfloat16 runs and stays finite."""
    with torch.no_grad():
        wanted = model(x)
        if x.ndim == 4:
            there = model(x.contiguous(memory_format=torch.channels_last))
            torch.testing.assert_close(there, wanted, rtol=1e-4, atol=1e-4)
        low = copy.deepcopy(model).bfloat16()(x.bfloat16())
        assert low.dtype is torch.bfloat16
        assert low.shape == wanted.shape and low.isfinite().all()


def check_forms(model: nn.Module, x: Tensor) -> None:
    """Traced, scripted, exported, copied and pickled, the module does what it did."""
    with torch.no_grad():
        wanted = model(x)
        forms: dict[str, Callable[[], Any]] = {
            "fx": lambda: torch.fx.symbolic_trace(model),
            "script": lambda: _scripted(model),
            "export": lambda: torch.export.export(model, (x,)).module(),
            "deepcopy": lambda: copy.deepcopy(model),
            "pickle": lambda: pickle.loads(pickle.dumps(model)),
        }
        for name, make in forms.items():
            torch.testing.assert_close(make()(x), wanted, msg=partial("{}: {}".format, name))


def _scripted(model: nn.Module) -> Any:
    with warnings.catch_warnings():  # torch says that scripting will go away some day
        warnings.simplefilter("ignore")
        return torch.jit.script(model)
