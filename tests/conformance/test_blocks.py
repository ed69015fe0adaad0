"""Every block of the vocabulary and every layer kind keeps the promises of the public suites."""

from __future__ import annotations

from flopwise.blocks import BLOCKS, Type
from flopwise.testing import BlockCase, Example, LayerKindCase

# What no signature tells: the one of two settings that a block takes and the plain example lacks.
CASES = (Example(BLOCKS["avgpool"], Type("map", (16, 12, 12)), {"kernel": 3, "stride": 2}),)


class TestBlocks(BlockCase):
    blocks = tuple(BLOCKS.values())
    cases = CASES


class TestLayerKinds(LayerKindCase):
    blocks = tuple(BLOCKS.values())
    cases = CASES
