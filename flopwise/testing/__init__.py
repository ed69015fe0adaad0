"""Conformance suites: what a block, a layer kind or a network must keep, as classes for pytest.

A plug-in is held to them by a subclass that names it:

    from flopwise.testing import BlockCase

    class TestMyBlock(BlockCase):
        blocks = (my_block,)
"""

from __future__ import annotations

from flopwise.testing.blocks import BlockCase
from flopwise.testing.examples import Example, derive, stage_graph
from flopwise.testing.kinds import LayerKindCase
from flopwise.testing.networks import NetworkCase

__all__ = ["BlockCase", "Example", "LayerKindCase", "NetworkCase", "derive", "stage_graph"]
