"""How long a network takes on the device at hand: measured, never derived from MACs."""

from __future__ import annotations

import platform
import statistics
import time
from dataclasses import dataclass

import torch

from flopwise.blocks.graph import Graph
from flopwise.dsl import Network as Design
from flopwise.nets.build import build

__all__ = ["Latency", "device_name", "latency"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Seconds of one forward pass in inference, and where they were taken.

    Attributes:
        median: The median of all runs.
        low: A quarter of the runs took less.
        high: A quarter of the runs took more.
        runs: Passes that were timed, after the warm-up.
        batch: Images of a pass.
        device: Name of the device.
        threads: Threads of torch on a CPU; 0 elsewhere.
        dtype: Type of the numbers.
        torch: torch's version.
    """

    median: float
    low: float
    high: float
    runs: int
    batch: int
    device: str
    threads: int
    dtype: str
    torch: str


@torch.inference_mode()
def latency(
    network: Design | Graph,
    *,
    device: str = "cpu",
    batch: int = 1,
    runs: int = 20,
    warmup: int = 5,
    dtype: torch.dtype = torch.float32,
) -> Latency:
    """Measures a network with fresh weights at its input size.

    Args:
        network: A network or its graph.
        device: Where it runs.
        batch: Images of a pass.
        runs: Passes that are timed, each on its own.
        warmup: Passes before, which are not.
        dtype: Type of weights and images.
    """
    graph = network if isinstance(network, Graph) else network.graph
    model = build(graph, seed=0, device=device).eval().to(dtype)
    images = torch.zeros(batch, *graph.inputs[0].shape, device=device, dtype=dtype)
    taken = []
    for _ in range(warmup + runs):
        _wait(device)
        start = time.perf_counter()
        model(images)
        _wait(device)
        taken.append(time.perf_counter() - start)
    timed = taken[warmup:]
    low, median, high = statistics.quantiles(timed, n=4) if runs > 1 else timed * 3
    return Latency(
        median=median,
        low=low,
        high=high,
        runs=runs,
        batch=batch,
        device=device_name(device),
        threads=torch.get_num_threads() if device == "cpu" else 0,
        dtype=str(dtype).removeprefix("torch."),
        torch=torch.__version__,
    )


def device_name(device: str) -> str:
    """Names a device as its maker does, where torch or the system knows it."""
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    return _cpu() if device == "cpu" else device


def _cpu() -> str:
    try:
        with open("/proc/cpuinfo") as lines:  # noqa: PTH123 - a device file, read line by line
            return next(line.split(":")[1].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _wait(device: str) -> None:
    """Waits for what was sent to the device; a CPU is done when it returns."""
    kind = torch.device(device).type
    if kind != "cpu":
        getattr(torch, kind).synchronize()
