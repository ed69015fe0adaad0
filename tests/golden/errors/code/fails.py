"""Fails when it is run."""

WIDTH = 64


def half(width: int) -> float:
    return width / 0


HALF = half(WIDTH)
