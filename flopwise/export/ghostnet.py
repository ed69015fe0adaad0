"""timm's GhostNet: stages of ghost bottlenecks, a 1x1 convolution, and a head of two layers.

Source: timm/models/ghostnet.py, `GhostNet.__init__`.
"""

from __future__ import annotations

__all__ = ["PREFIXES"]

PREFIXES = {
    "conv_stem": {"conv1": "conv_stem", "bn1": "bn1"},
    "ghost": {"#": "blocks.{stage}.{repetition}"},
    "conv": {
        "#.conv": "blocks.{stage}.{repetition}.conv",
        "#.norm": "blocks.{stage}.{repetition}.bn1",
    },
    "classifier": {"conv_head": "conv_head", "fc": "classifier"},
}
