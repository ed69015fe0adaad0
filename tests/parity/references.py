"""timm models redrawn at random, so that no branch is silent and every block counts."""

from __future__ import annotations

import timm
import torch
from torch import Tensor, nn

__all__ = ["image", "redrawn", "relative"]


def redrawn(name: str, *, gain: float = 0.5, **options: object) -> nn.Module:
    """Returns timm's model with every parameter and floating buffer redrawn.

    Fresh weights would hide mistakes: ResNet's last gains are 0, ConvNeXt's gammas 1e-6, biases 0.
    Weights are drawn small, so that the eps of a norm weighs in. The gain of the norms keeps a deep
    network from overflowing.
    """
    model = timm.create_model(name, **options).eval()
    generator = torch.Generator().manual_seed(7)
    state = {}
    for key, value in model.state_dict().items():
        noise = torch.randn(value.shape, generator=generator)
        if not value.is_floating_point():
            state[key] = value
        elif key.endswith("running_var"):
            state[key] = noise.abs() * 0.3 + 0.05
        elif value.ndim > 1 and "pos_embed" not in key and "token" not in key:
            scale = 0.1 if key.startswith("patch_embed") else 1.0
            state[key] = noise * scale * (value[0].numel() ** -0.5)
        elif key.endswith(("bias", "running_mean")):
            state[key] = noise * 0.05
        elif key.endswith("weight") or "gamma" in key:
            state[key] = (noise.abs() + 1) * (0.1 if key.startswith("stem.1") else gain)
        else:  # position table, class token
            state[key] = noise * 0.1
    model.load_state_dict(state)
    return model


def image(size: int = 224, *, batch: int = 2, channels: int = 3) -> Tensor:
    """A batch of noise with a gradient in it, so that no two positions look alike."""
    generator = torch.Generator().manual_seed(3)
    ramp = torch.linspace(-1, 1, size)
    return torch.randn(batch, channels, size, size, generator=generator) + ramp


def relative(ours: Tensor, theirs: Tensor) -> float:
    """Largest difference over the largest output."""
    return ((ours - theirs).abs().max() / theirs.abs().max()).item()
