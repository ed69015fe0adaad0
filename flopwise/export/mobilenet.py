"""timm's EfficientNet class, which MobileNetV1 and V2 are of: stages between two convolutions.

Source: timm/models/efficientnet.py, `EfficientNet.__init__`.
"""

from __future__ import annotations

__all__ = ["PREFIXES"]

PREFIXES = {
    "conv_stem": {"conv1": "conv_stem", "bn1": "bn1"},
    "separable": {"#": "blocks.{stage}.{repetition}"},
    "inverted": {"#": "blocks.{stage}.{repetition}"},
    "conv": {"#.conv": "conv_head", "#.norm": "bn2"},
    "classifier": {"fc": "classifier"},
}
