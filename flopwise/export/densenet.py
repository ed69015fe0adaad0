"""timm's DenseNet: four stages of dense layers with transitions between them, behind a 7x7 stem.

Source: timm/models/densenet.py, `DenseNet.__init__`.
"""

from __future__ import annotations

__all__ = ["PREFIXES"]

PREFIXES = {
    "conv_stem": {"conv1": "features.conv0", "bn1": "features.norm0"},
    "dense": {
        "transition": "features.transition{stage}",
        "#": "features.denseblock{number}.denselayer{place}",
    },
    "norm_act": {"norm": "features.norm5"},
    "classifier": {"fc": "classifier"},
}
