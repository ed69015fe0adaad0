"""T2T-ViT once more, from the equations of the paper: explicit loops over a state dict, no modules.

Yuan et al. 2021, arXiv:2101.11986, section 3; the performer's features are those of Choromanski et
al. 2021, arXiv:2009.14794, eq. 5. What the papers leave open (the shortcut from the values, 1e-8
under the fraction, the token layers' scale) is as the text of table 1 and the released model say.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

__all__ = ["re_structured", "soft_split", "t2t_vit"]


class Weights:
    """A state dict seen from one of its prefixes."""

    def __init__(self, state: Mapping[str, Tensor], prefix: str = "") -> None:
        self.state, self.prefix = state, prefix

    def __call__(self, name: str) -> Tensor:
        """The tensor of a name."""
        return self.state[self.prefix + name]

    def __truediv__(self, name: str) -> Weights:
        return Weights(self.state, f"{self.prefix}{name}.")

    def __contains__(self, name: str) -> bool:
        return any(key.startswith(self.prefix + name) for key in self.state)


def affine(x: Tensor, w: Weights) -> Tensor:
    y = torch.einsum("...c,dc->...d", x, w("weight"))
    return y + w("bias") if "bias" in w else y


def normal(x: Tensor, w: Weights, eps: float = 1e-5) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    variance = (centred**2).mean(-1, keepdim=True)
    return centred / (variance + eps).sqrt() * w("weight") + w("bias")


def gelu(x: Tensor) -> Tensor:
    return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))


def soft_split(image: Tensor, kernel: int, stride: int, pad: int) -> tuple[Tensor, int]:
    """Cuts windows out of a padded image (C, H, W), one after the other."""
    channels, height, width = image.shape
    padded = image.new_zeros(channels, height + 2 * pad, width + 2 * pad)
    padded[:, pad : pad + height, pad : pad + width] = image
    rows = range(0, height + 2 * pad - kernel + 1, stride)
    columns = range(0, width + 2 * pad - kernel + 1, stride)
    windows = [
        padded[:, top : top + kernel, left : left + kernel].reshape(-1)
        for top in rows
        for left in columns
    ]
    return torch.stack(windows), len(rows)


def re_structured(tokens: Tensor, rows: int) -> Tensor:
    """Lays (L, C) out as an image (C, rows, L / rows)."""
    image = tokens.new_zeros(tokens.shape[1], rows, len(tokens) // rows)
    for position, token in enumerate(tokens):
        image[:, position // image.shape[2], position % image.shape[2]] = token
    return image


def attention(q: Tensor, k: Tensor, v: Tensor, heads: int, over: int) -> Tensor:
    """One head and one query after the other."""
    depth = q.shape[1] // heads
    out = torch.zeros_like(v)
    for head in range(heads):
        part = slice(head * depth, (head + 1) * depth)
        for position, query in enumerate(q[:, part]):
            scores = torch.stack([k[:, part] @ query / math.sqrt(over)]).flatten()
            weights = (scores - scores.max()).exp()
            out[position, part] = (weights / weights.sum()) @ v[:, part]
    return out


def performer(x: Tensor, w: Weights) -> Tensor:
    y = affine(normal(x, w / "norm1"), w / "kqv")
    k, q, v = y.split(y.shape[1] // 3, dim=1)
    directions = w("w")

    def phi(u: Tensor) -> Tensor:
        found = [torch.exp(directions @ one - (one**2).sum() / 2) for one in u]
        return torch.stack(found) / math.sqrt(len(directions))

    queries, keys = phi(q), phi(k)
    memory = sum(torch.outer(key, value) for key, value in zip(keys, v, strict=True))
    total = sum(keys)
    y = torch.stack([query @ memory / (query @ total + 1e-8) for query in queries])
    y = v + affine(y, w / "proj")
    hidden = gelu(affine(normal(y, w / "norm2"), w / "mlp.0"))
    return y + affine(hidden, w / "mlp.2")


def token_transformer(x: Tensor, w: Weights) -> Tensor:
    y = affine(normal(x, w / "norm1"), w / "attn.qkv")
    q, k, v = y.split(y.shape[1] // 3, dim=1)
    y = v + affine(attention(q, k, v, heads=1, over=x.shape[1]), w / "attn.proj")
    return y + mlp(normal(y, w / "norm2"), w / "mlp")


def mlp(x: Tensor, w: Weights) -> Tensor:
    hidden = gelu(affine(x, w / "fc1"))
    copies = [key for key in ("cheap_operation2", "cheap_operation3") if key in w]
    first = hidden
    for name in copies:  # Ghost: every channel times its own number
        hidden = torch.cat([hidden, gelu(first * (w / name)("weight").flatten())], dim=1)
    return affine(hidden, w / "fc2")


def vit(x: Tensor, w: Weights, heads: int, scale: str = "head", eps: float = 1e-5) -> Tensor:
    y = normal(x, w / "norm1", eps)
    a = w / "attn"
    if "qkv" in a:
        q, k, v = affine(y, a / "qkv").split(x.shape[1], dim=1)
    else:  # Ghost: half of each is a scaled copy of the other half
        q, k, v = (
            torch.cat([half, half * (a / f"cheap_operation_{name}")("weight").flatten()], dim=1)
            for name in "qkv"
            for half in [affine(y, a / name)]
        )
    over = x.shape[1] if scale == "width" else x.shape[1] // heads
    y = affine(attention(q, k, v, heads, over), a / "proj")
    if "se_layer" in a:
        gate = affine(y.mean(0), a / "se_layer.fc.0").clamp(min=0)
        y = y * torch.sigmoid(affine(gate, a / "se_layer.fc.2"))
    x = x + y
    return x + mlp(normal(x, w / "norm2", eps), w / "mlp")


def dense_block(x: Tensor, w: Weights, heads: int) -> Tensor:
    return torch.cat([x, affine(vit(x, w, heads), w / "dense_linear")], dim=1)


def sinusoids(length: int, dim: int) -> Tensor:
    """Vaswani et al. 2017, section 3.5: pairs of channels hold the sine and cosine of one angle."""
    table = torch.zeros(length, dim)
    for position in range(length):
        for pair in range(0, dim, 2):
            angle = position / 10000 ** (pair / dim)
            table[position, pair] = math.sin(angle)
            table[position, pair + 1] = math.cos(angle)
    return table


def t2t_vit(image: Tensor, state: Mapping[str, Tensor], heads: int, scale: str = "head") -> Tensor:
    """(3, H, W) -> (classes,); every structure is read from the keys."""
    w = Weights(state)
    mix = performer if "mix1.0.kqv" in w else token_transformer
    tokens, rows = soft_split(image, 7, 4, 2)
    for name in ("mix1", "mix2"):
        tokens = mix(tokens, w / f"{name}.0")
        tokens, rows = soft_split(re_structured(tokens, rows), 3, 2, 1)
    x = affine(tokens, w / "embed.proj")
    x = torch.cat([w("cls.cls_token")[0], x])
    x = x + sinusoids(*x.shape).to(x)
    for name in _body(w):
        block = w / name
        if "proj" in block:  # the transition of the dense network
            x = gelu(affine(x, block / "proj"))
        elif "dense_linear" in block:
            x = dense_block(x, block, heads)
        else:
            x = vit(x, block, heads, scale)
    return affine(normal(x, w / "head.norm")[0], w / "head.fc")


def _body(w: Weights) -> Iterator[str]:
    """The blocks behind the tokens, in order."""
    for name in dict.fromkeys(key.split(".")[0] for key in w.state):
        if name.startswith("down"):
            yield name
        elif name.startswith(("body", "dense")):
            depth = 1 + max(int(key.split(".")[1]) for key in w.state if key.startswith(f"{name}."))
            yield from (f"{name}.{index}" for index in range(depth))
