"""Scores of a network with its initial weights: one batch, no training. Imports torch.

Norms use the statistics of the batch and dropout is off, but for SynFlow, which skips norms.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from flopwise import nets
from flopwise.dsl import Network
from flopwise.nets.runtime import Block, Stage
from flopwise.search.scores import Images
from flopwise.train import usual_device
from flopwise.train.randomness import own_randomness

__all__ = [
    "UNTRAINED",
    "Batch",
    "Codes",
    "Outputs",
    "Pairs",
    "codes_of",
    "expressivity",
    "flows_of",
    "grad_norm",
    "gradients_of",
    "measure",
    "naswot",
    "outputs_of",
    "progressivity",
    "snip",
    "swap",
    "synflow",
    "trainability",
]

Batch: TypeAlias = tuple[Tensor, Tensor]
"""Images and labels."""
Pairs: TypeAlias = Sequence[tuple[Tensor, Tensor]]
"""Weight and gradient of each layer."""
Codes: TypeAlias = Sequence[Tensor]
"""For each activation function, which of its inputs are positive: (B, inputs)."""
Outputs: TypeAlias = Sequence[Tensor]
"""What each block puts out, in order: (B, C, H, W) or (B, L, C), with the graph behind it."""
ACTIVATIONS = {
    *(F.relu, F.relu6, F.gelu, F.silu, F.elu, F.leaky_relu, F.hardswish, F.mish),
    *(F.hardtanh, torch.relu, Tensor.relu),
}
NORMED = (nn.LayerNorm, nn.RMSNorm, nn.GroupNorm, nn.BatchNorm2d)
NORMS = {F.batch_norm, F.layer_norm, F.group_norm, F.instance_norm}


class _Listen(TorchFunctionMode):
    """Keeps which inputs of activations are positive, one row per image."""

    def __init__(self) -> None:
        super().__init__()
        self.codes: list[Tensor] = []

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Looks at the first argument of an activation."""
        if function in ACTIVATIONS:
            self.codes.append((args[0].detach() > 0).flatten(1))
        return function(*args, **(kwargs or {}))


class _SkipNorms(TorchFunctionMode):
    """Lets norms put out what they get."""

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Returns the first argument of a norm."""
        return args[0] if function in NORMS else function(*args, **(kwargs or {}))


def grad_norm(pairs: Pairs) -> float:
    """Sum over convolutions and linear layers of the norm of the loss's gradient.

    Source: Abdelfattah et al. 2021, arXiv:2101.08134, section 3.
    """
    return sum(float(gradient.norm()) for _, gradient in pairs)


def snip(pairs: Pairs) -> float:
    """Sum over the weights of the same layers of |weight x gradient|.

    Source: Lee et al. 2019, arXiv:1810.02340, eq. 5; summed as in arXiv:2101.08134.
    """
    return sum(float((weight * gradient).abs().sum()) for weight, gradient in pairs)


def synflow(pairs: Pairs) -> float:
    """Log of the sum of weight x gradient of the summed output, for weights without signs.

    The input is all ones and norms are skipped; in double precision, since the sum is about as
    large as the product of all layers.
    Source: Tanaka et al. 2020, arXiv:2006.05467, eq. 1; all prunable weights are summed.
    """
    total = sum(float((weight * gradient).sum()) for weight, gradient in pairs)
    return float(np.log(total)) if 0 < total < float("inf") else float("nan")


def naswot(codes: Codes) -> float:
    """Log-determinant of how many activations agree, for each pair of images.

    Source: Mellor et al. 2021, arXiv:2006.04647, eq. 2 and the authors' code.
    """
    agree = torch.zeros((), dtype=torch.float64)
    for code in codes:
        on = code.float()
        agree = agree + (on @ on.T + (1 - on) @ (1 - on).T).double()
    return float(torch.linalg.slogdet(agree)[1])


def swap(codes: Codes) -> float:
    """Number of distinct patterns that single activations show over the images.

    Source: Peng et al. 2024, arXiv:2403.04161, definition 3.2; without its size term.
    """
    rows = [np.packbits(code.cpu().numpy(), axis=0) for code in codes]  # (B / 8, activations)
    patterns = np.ascontiguousarray(np.concatenate(rows, axis=1).T)
    return float(len(np.unique(patterns.view(f"V{patterns.shape[1]}"))))


def expressivity(outputs: Outputs) -> float:
    """Sum over blocks of the entropy of how the variance of their output is spread.

    The spread is that of the principal components of channels, over images and positions.
    Source: Lee and Ham 2024 (AZ-NAS), arXiv:2403.19232, section 3.1.
    """
    return sum(map(_entropy, outputs))


def progressivity(outputs: Outputs) -> float:
    """Smallest growth of that entropy from one block to the next.

    Source: as `expressivity`.
    """
    spread = [_entropy(each) for each in outputs]
    return float(np.diff(spread).min()) if len(spread) > 1 else float("nan")


def trainability(outputs: Outputs) -> float:
    """Mean over blocks of 2 - s - 1 / s, where s is the gain of gradients through the block.

    The gain is the largest singular value of the mean product of gradients before and behind the
    block, for random signs behind it; 1 is best. Blocks that change nothing are left out, and those
    whose input does not lie on their grid or on one that is finer by a whole number.
    Source: as `expressivity`.
    """
    dice = torch.Generator().manual_seed(0)
    found = []
    for before, behind in pairwise(outputs):
        signs = torch.randint(2, behind.shape, generator=dice).to(behind) * 2 - 1
        (back,) = torch.autograd.grad(behind, before, signs, retain_graph=True, allow_unused=True)
        if back is None or torch.equal(back, signs):
            continue
        if finer := _finer(back, signs):
            back = F.pixel_unshuffle(back, finer)
        rows, columns = _rows(back), _rows(signs)
        if len(rows) != len(columns):
            continue
        product = rows.T @ columns / len(rows)
        if not product.isfinite().all():
            return float("nan")
        gain = float(torch.linalg.matrix_norm(product, 2))
        found.append(2 - gain - 1 / gain if gain else -float("inf"))
    return sum(found) / len(found) if found else float("nan")


def _finer(one: Tensor, other: Tensor) -> int:
    """Returns how many times finer the grid of a map is than that of another; 0 if it is not."""
    if one.dim() != 4 or other.dim() != 4:
        return 0
    times, rest = divmod(one.shape[2], other.shape[2])
    return times if not rest and one.shape[3] == times * other.shape[3] else 0


def _entropy(output: Tensor) -> float:
    rows = _rows(output.detach())
    rows = rows - rows.mean(0)
    small = rows @ rows.T if len(rows) < rows.shape[1] else rows.T @ rows  # of the same spectrum
    if not small.isfinite().all():  # a deep network without norms, for example
        return float("nan")
    values = torch.linalg.eigvalsh(small.double()).clamp_min(0)
    shares = values / values.sum()
    return float(-(shares * shares.clamp_min(1e-12).log()).sum())


def _rows(output: Tensor) -> Tensor:
    """(B, C, H, W) or (B, L, C) -> (B H W, C) or (B L, C)."""
    last = output.permute(0, 2, 3, 1) if output.dim() == 4 else output
    return last.reshape(-1, last.shape[-1])


def measure(names: Sequence[str], network: Network, images: Images) -> dict[str, float]:
    """Returns scores of a network; NaN where a score is not finite.

    They are measured on a GPU where there is one with memory left.

    Args:
        names: Names in `UNTRAINED`.
        network: The network; it is built with the seed of the images.
        images: The batch.
    """
    try:
        return _measured(names, network, images, usual_device())
    except torch.OutOfMemoryError:
        return _measured(names, network, images, torch.device("cpu"))
    finally:
        torch.cuda.empty_cache()  # the trainings to come may be those of other processes


def _measured(
    names: Sequence[str], network: Network, images: Images, device: torch.device
) -> dict[str, float]:
    model = nets.build(network, seed=images.seed).to(device)
    batch = (
        torch.from_numpy(images.pixels).to(device),
        torch.from_numpy(images.labels).to(device),
    )
    found: dict[str, float] = {}
    for look in dict.fromkeys(look for look, _ in UNTRAINED.values()):
        wanted = [name for name in names if UNTRAINED[name][0] is look]
        seen = look(model, batch) if wanted else None
        found |= {name: UNTRAINED[name][1](seen) for name in wanted}
    return {name: value if np.isfinite(value) else float("nan") for name, value in found.items()}


def codes_of(model: nn.Module, batch: Batch) -> Codes:
    """Returns which inputs of each activation are positive, (B, activations) each."""
    with torch.no_grad(), _Listen() as heard:
        _judging(model)(batch[0])
    codes: Codes = heard.codes
    return codes


def outputs_of(model: nn.Module, batch: Batch) -> Outputs:
    """Returns what the repetitions of all stages put out, maps and tokens only.

    Weights start as AZ-NAS has them: He's rule for convolutions and linear layers, norms and the
    scales of branches at 1. A branch that starts at nothing would hide what is in it.
    """
    model, heard = deepcopy(model), []  # the others look at the weights it starts from

    def listen(module: nn.Module, given: object, output: object) -> None:
        if isinstance(output, Tensor) and output.requires_grad and output.dim() in (3, 4):
            heard.append(output)

    for stage in model.children():
        for name, block in stage.named_children() if isinstance(stage, Stage) else ():
            if name.isdigit():
                block.register_forward_hook(listen)
    with own_randomness(0):
        _judging(model).apply(_fresh)
    model(batch[0])
    return heard


def _fresh(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.kaiming_normal_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
        if isinstance(gain := getattr(module, "gain", None), Tensor):
            nn.init.ones_(gain)
    elif isinstance(module, Block):
        for table in module.parameters(recurse=False):
            if table.numel() == table.shape[:1].numel():  # a scale: (), (C,) or (C, 1, 1)
                nn.init.ones_(table)
    elif isinstance(module, NORMED) and module.weight is not None:
        nn.init.ones_(module.weight)


def gradients_of(model: nn.Module, batch: Batch) -> Pairs:
    """Returns weight and gradient of the loss for each convolution and linear layer."""
    model = _judging(model)
    model.zero_grad()
    F.cross_entropy(model(batch[0]), batch[1]).backward()
    return _pairs(model)


def flows_of(model: nn.Module, batch: Batch) -> Pairs:
    """Returns weight and gradient of SynFlow; takes the signs of all weights away."""
    model = model.double().eval()
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            if tensor.is_floating_point():
                tensor.abs_()
    model.zero_grad()
    with _SkipNorms():
        model(torch.ones_like(batch[0][:1], dtype=torch.float64)).sum().backward()
    return _pairs(model)


def _pairs(model: nn.Module) -> Pairs:
    """Returns weight and gradient of every convolution and linear layer that was reached."""
    weights = [m.weight for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    return [(weight.detach(), weight.grad) for weight in weights if weight.grad is not None]


def _judging(model: nn.Module) -> nn.Module:
    """Returns the model with dropout off and norms that use the batch."""
    model.eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.train()
    return model


UNTRAINED: Mapping[str, tuple[Callable[[nn.Module, Batch], Any], Callable[[Any], float]]] = {
    "naswot": (codes_of, naswot),
    "swap": (codes_of, swap),
    "grad_norm": (gradients_of, grad_norm),
    "snip": (gradients_of, snip),
    "expressivity": (outputs_of, expressivity),
    "progressivity": (outputs_of, progressivity),
    "trainability": (outputs_of, trainability),
    "synflow": (flows_of, synflow),  # last: it changes the weights
}
"""Score -> what is looked at in a fresh model, and what is made of it."""
