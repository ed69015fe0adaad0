"""What a second CPU thread brings a training, for a small and for a larger network.

    OMP_WAIT_POLICY=PASSIVE python benchmarks/threads.py

Steps with one and with all threads are taken in turn; the ratio of their median rates is printed.
`flopwise.train.fitting_threads` rests on it.
"""

from __future__ import annotations

import statistics
import time

import torch

import flopwise

CASES = [("examples/quickstart.yaml", 64), ("examples/cifar10/search.yaml", 128)]
ROUNDS = 8


def rate(model: torch.nn.Module, images: torch.Tensor, threads: int) -> float:
    """Images per second of forward and backward."""
    torch.set_num_threads(threads)
    began = time.perf_counter()
    model(images).square().sum().backward()
    return len(images) / (time.perf_counter() - began)


def main() -> None:
    most = torch.get_num_threads()
    for path, batch in CASES:
        design = flopwise.load(path)
        model = design.build(seed=0).train()
        images = torch.randn(batch, *model.input_size)
        rate(model, images, 1)
        pairs = [(rate(model, images, 1), rate(model, images, most)) for _ in range(ROUNDS)]
        one, all_threads = (statistics.median(each) for each in zip(*pairs, strict=True))
        print(
            f"{design.name}, {design.cost().macs / 1e6:.1f} MMACs: {one:,.0f} images/s with one "
            f"thread, {all_threads:,.0f} with {most}: ratio {all_threads / one:.2f}"
        )


if __name__ == "__main__":
    main()
