"""Scores without training, each measured once for all processes of a study.

FOLDER/scores.jsonl has a line per network that was scored: its hash and its scores, null for one
that is not a number.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from math import isnan, nan
from pathlib import Path

from flopwise.dsl import Network
from flopwise.search.scores import IMAGES, Images, scores_of

__all__ = ["Scored", "images_for"]

MOST = 2**30
"""Most activations of all images together; what a backward pass needs for them is some 10 GB."""
FEWEST = 4
"""Fewest images that say anything."""


@dataclass
class Scored:
    """Scores of networks; measured, unless somebody has measured them before.

    Attributes:
        path: The file that keeps them; None for memory alone.
        tell: Called after each network with how many this process has measured.
        images: Images that each network sees; the same for all that are compared.
    """

    path: Path | None = None
    tell: Callable[[int], None] = lambda count: None
    images: int = IMAGES
    _measured: int = field(default=0, repr=False)
    _known: dict[str, dict[str, float]] = field(default_factory=dict, repr=False)
    _read: int = field(default=0, repr=False)

    def __call__(self, network: Network, names: Sequence[str]) -> dict[str, float]:
        """Returns scores of a network, NaN where one cannot be told."""
        if not names:
            return {}
        if not self._known.get(network.hash, {}).keys() >= {*names}:
            self._refresh()
        known = self._known.setdefault(network.hash, {})
        if left := [name for name in names if name not in known]:
            found = scores_of(left, network, Images.noise(network, self.images))
            known |= found
            self._add({"hash": network.hash, **found})
            self._measured += 1
            self.tell(self._measured)
        return {name: known[name] for name in names}

    def _refresh(self) -> None:
        """Reads what was added since, by this process or others; cut lines are left out."""
        if not (self.path and self.path.exists()):
            return
        with self.path.open("rb") as file:
            file.seek(self._read)
            whole = file.read().rpartition(b"\n")[0]
        self._read += len(whole) + bool(whole)
        for line in whole.splitlines():
            with suppress(ValueError, KeyError):
                found = json.loads(line)
                known = self._known.setdefault(found.pop("hash"), {})
                known |= {name: nan if v is None else float(v) for name, v in found.items()}

    def _add(self, line: dict[str, str | float]) -> None:
        if self.path is None:
            return
        plain = {k: None if isinstance(v, float) and isnan(v) else v for k, v in line.items()}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(plain) + "\n")


def images_for(network: Network) -> int:
    """Returns how many images such networks may see: fewer where activations are many."""
    count = IMAGES
    while count > FEWEST and count * network.graph.activations > MOST:
        count //= 2
    return count
