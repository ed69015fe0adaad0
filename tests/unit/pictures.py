"""Small real trainings for tests: folders of drawn pictures, and a network that learns them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

CLASSES = ("disc", "empty", "square")


def draw(label: str, size: int, seed: int, mode: str = "RGB") -> Image.Image:
    """Draws a noisy picture of a class at a random place."""
    dice = np.random.default_rng(seed)
    pixels = dice.integers(0, 90, (size, size, 3)).astype(np.uint8)
    y, x = np.mgrid[:size, :size]
    top, left = dice.integers(size // 3, size - size // 3, 2)
    if label == "disc":
        pixels[(y - top) ** 2 + (x - left) ** 2 < (size // 4) ** 2] += 150
    elif label == "square":
        pixels[(abs(y - top) < size // 4) & (abs(x - left) < size // 4)] += 150
    return Image.fromarray(pixels).convert(mode)


def write_pictures(
    root: Path, counts: Mapping[str, int], *, size: int = 16, mode: str = "RGB", ext: str = "png"
) -> Path:
    """Writes `counts[split]` pictures of each class to root/split/class; "" writes to root."""
    for number, (split, count) in enumerate(counts.items()):
        for place, label in enumerate(CLASSES):
            folder = root / split / label
            folder.mkdir(parents=True, exist_ok=True)
            for index in range(count):
                seed = 10_000 * number + 1000 * place + index
                draw(label, size, seed, mode).save(folder / f"{index:03}.{ext}")
    return root


def corrupt(folder: Path) -> int:
    """Makes every image below a folder unreadable; returns how many there are."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    for path in files:
        path.write_bytes(b"not an image at all")
    return len(files)


class SmallNet(nn.Module):
    """Two convolutions with batch norm, and dropout, so that buffers and randomness matter."""

    def __init__(self, channels: int, classes: int, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.conv1 = nn.Conv2d(channels, 16, 3, padding=1)
            self.norm = nn.BatchNorm2d(16)
            self.conv2 = nn.Conv2d(16, 32, 3, stride=2, padding=1)
            self.drop = nn.Dropout(0.1)
            self.head = nn.Linear(32, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm(self.conv1(x)))
        x = torch.relu(self.conv2(x)).mean((2, 3))
        return self.head(self.drop(x))

    def get_classifier(self) -> nn.Module:
        return self.head
