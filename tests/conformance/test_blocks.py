"""Every block of the vocabulary and every layer kind keeps the promises of the public suites."""

from __future__ import annotations

from flopwise.blocks import BLOCKS
from flopwise.testing import BlockCase, LayerKindCase


class TestBlocks(BlockCase):
    blocks = tuple(BLOCKS.values())


class TestLayerKinds(LayerKindCase):
    blocks = tuple(BLOCKS.values())
