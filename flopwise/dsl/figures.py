"""Numbers as they are written: compared at their own precision, and printed as they stand."""

from __future__ import annotations

from dataclasses import dataclass

from flopwise.dsl.scalars import read_quantity
from flopwise.dsl.tree import Scalar

__all__ = ["Figure", "read_figure", "written"]


@dataclass(frozen=True, slots=True)
class Figure:
    """A written number.

    Attributes:
        text: The number as it stands in the file.
        value: What it is worth.
        half: Half a unit of its last written digit.
    """

    text: str
    value: float
    half: float

    def agrees(self, actual: float, *, share: float = 0.0, within: float = 0.0) -> bool:
        """Whether a number rounds to this one, or is no farther off than a share or a number.

        >>> Figure("4.46G", 4.46e9, 5e6).agrees(4_455_531_264)
        True
        >>> Figure("4.49G", 4.49e9, 5e6).agrees(4_455_531_264, share=0.01)
        True
        """
        allowed = max(self.half, share * abs(self.value), within)
        return abs(actual - self.value) <= allowed * (1 + 1e-9)


def read_figure(node: Scalar) -> Figure | None:
    """Returns the number or quantity that a scalar holds; None where it holds neither."""
    if isinstance(node.value, bool) or node.value is None:
        return None
    text = written(node)
    found = read_quantity(text)
    if found:
        return Figure(text, *found)
    if isinstance(node.value, str):
        return None
    return Figure(text, float(node.value), 0.5 if isinstance(node.value, int) else 0.0)


def written(node: Scalar) -> str:
    """Returns a scalar as it stands in its file, with the zeros that a number would lose."""
    place = node.place
    line = place.text
    text = line[place.column - 1 : place.column - 1 + place.width]
    return text.strip("'\"") or str(node.value)
