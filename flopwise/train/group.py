"""The processes that share one training: a group, as torchrun starts it, or one process alone.

All of them take the same steps. Each looks at its share of every batch, gradients are averaged, and
batch norms see the whole batch; so a group follows the recipe that one process would follow, with
the batch and the learning rate that it names. The first process alone writes files and tells.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from timm.layers import convert_sync_batchnorm
from timm.utils import reduce_tensor
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel

__all__ = ["ALONE", "Group"]

CPU = torch.device("cpu")

PATIENCE = timedelta(hours=1)
"""How long a process waits for the others: the first may wait for a database that is away."""


@dataclass(frozen=True, slots=True)
class Group:
    """The processes of one training, seen from one of them.

    Attributes:
        rank: Which of them this is.
        size: How many they are.
        device: Where it keeps what it tells the others.
    """

    rank: int = 0
    size: int = 1
    device: torch.device = CPU

    @classmethod
    def joined(cls, kind: str) -> Group:
        """Joins the group whose address torchrun left in the environment.

        timm's `init_distributed_device` is not used: it knows no time limit but torch's ten
        minutes.

        Args:
            kind: `cuda`, each process on a GPU of its own, or `cpu`.
        """
        if kind == "cuda":
            torch.cuda.set_device(dist.get_node_local_rank())
        dist.init_process_group("nccl" if kind == "cuda" else "gloo", timeout=PATIENCE)
        place = torch.device(kind, torch.cuda.current_device()) if kind == "cuda" else CPU
        return cls(dist.get_rank(), dist.get_world_size(), place)

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and tells."""
        return self.rank == 0

    @property
    def own(self) -> slice:
        """Which images of a whole batch are this process's: every so many-th."""
        return slice(self.rank, None, self.size)

    def mean(self, value: float) -> float:
        """Returns the mean of what the processes have; no number if one of them has none."""
        if self.size == 1:
            return value
        own = torch.tensor(value, dtype=torch.float64, device=self.device)
        return float(reduce_tensor(own, self.size))

    def whole(self, part: Tensor) -> Tensor:
        """Returns what every image got, from tensors that hold zeros for the others' images."""
        if self.size == 1:
            return part
        return _added(part.to(self.device)).to(part.device)

    def agreed(self, word: bool) -> bool:
        """Returns the word of the first process, to all of them."""
        if self.size == 1:
            return word
        said = torch.tensor(int(word), device=self.device)
        dist.broadcast(said, 0)
        return bool(said)

    def shared(self, model: nn.Module, sample: Tensor) -> nn.Module:
        """Returns a network to call in training, whose gradients are averaged over the group.

        Its batch norms are replaced, in `model` itself, by those of the whole batch: with the norm
        of each share, timm's other way, a recipe would depend on the number of processes. Names,
        parameters and statistics stay.

        Args:
            model: The network, on this process's device.
            sample: An image that it takes (1, C, H, W).
        """
        if self.size == 1:
            return model
        idle = _has_idle(model, sample.to(self.device))
        if self.device.type == "cpu":
            _share_norms(model, self.size)
        else:
            convert_sync_batchnorm(model)
        return DistributedDataParallel(
            model,
            device_ids=None if self.device.type == "cpu" else [self.device],
            find_unused_parameters=idle,
        )

    def quiet(self, shared: nn.Module, on: bool) -> AbstractContextManager[object]:
        """Makes a context in which gradients are added up and not yet averaged."""
        if on and isinstance(shared, DistributedDataParallel):
            return shared.no_sync()
        return nullcontext()


ALONE = Group()
"""One process that trains by itself."""


class _Sum(torch.autograd.Function):
    """Adds a tensor up over the group; so are its gradients."""

    @staticmethod
    def forward(ctx: Any, part: Tensor) -> Tensor:
        return _added(part)

    @staticmethod
    def backward(ctx: Any, part: Tensor) -> Tensor:
        return _added(part)


def _added(part: Tensor) -> Tensor:
    whole = part.clone()
    dist.all_reduce(whole)
    return whole


class _SharedNorm(nn.BatchNorm2d):
    """A batch norm over the shares of all processes; torch's own has no kernels for the CPU.

    Source: Ioffe and Szegedy 2015, arXiv:1502.03167, algorithm 1, over the whole batch.
    """

    processes = 1

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W)
        if not self.training:
            return super().forward(x)
        exact = x.float()  # all shares are of one size, so means of them are means of all
        mean: Tensor = _Sum.apply(exact.mean((0, 2, 3))) / self.processes
        centred = exact - mean[:, None, None]
        variance: Tensor = _Sum.apply(centred.square().mean((0, 2, 3))) / self.processes
        self._count(mean.detach(), variance.detach(), x.numel() // len(mean) * self.processes)
        scaled = centred * (variance + self.eps).rsqrt()[:, None, None]
        if self.affine:
            scaled = torch.addcmul(self.bias[:, None, None], scaled, self.weight[:, None, None])
        return scaled.to(x.dtype)

    def _count(self, mean: Tensor, variance: Tensor, values: int) -> None:
        """Moves the running statistics as torch does: the variance without its bias."""
        if self.running_mean is None or self.running_var is None or self.momentum is None:
            return
        self.num_batches_tracked.add_(1)  # type: ignore[union-attr]
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * (values / (values - 1)), self.momentum)


def _share_norms(model: nn.Module, processes: int) -> None:
    """Makes every batch norm one of the whole group; it keeps its tensors."""
    for module in model.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = _SharedNorm
            vars(module)["processes"] = processes


def _has_idle(model: nn.Module, sample: Tensor) -> bool:
    """Whether the logits depend on some parameter not at all, which averaging has to know."""
    training = model.training
    model.eval()(sample).sum().backward()
    idle = any(each.requires_grad and each.grad is None for each in model.parameters())
    model.zero_grad()
    model.train(training)
    return idle
