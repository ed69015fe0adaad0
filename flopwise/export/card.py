"""README.md of an exported folder: what it is, how to load it, how it was found."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

__all__ = ["make_card"]

TEXT = """---
library_name: timm
license: {license}
tags: [image-classification, timm]
---
# {name}

{what}

```python
import timm

model = timm.create_model("local-dir:PATH/TO/{name}", pretrained=True).eval()
data = timm.data.resolve_model_data_config(model)
transform = timm.data.create_transform(**data, is_training=False)
logits = model(transform(image).unsqueeze(0))  # image: PIL, {mode}
```

It needs torch and timm >= 1.0.17, nothing else. `num_classes=` replaces the classifier for
fine-tuning{grey}; `features_only=True` gives feature maps. On the Hub, the same files load by
`hf-hub:USER/NAME`.

{facts}
"""


def make_card(config: Mapping[str, Any], name: str) -> str:
    """Returns the card for a config.json."""
    cfg = config["pretrained_cfg"]
    channels, height, width = cfg["input_size"]
    return TEXT.format(
        name=name,
        license=cfg["license"],
        what=_what(config),
        mode={1: "mode L", 3: "mode RGB"}.get(channels, f"{channels} channels"),
        grey=", `in_chans=1` adapts it to grey images" if channels == 3 else "",
        facts=f"Images: {channels} x {height} x {width}. Classes: {config['num_classes']}"
        + (f" ({', '.join(config['label_names'])})." if "label_names" in config else "."),
    )


def _what(config: Mapping[str, Any]) -> str:
    args = json.dumps(config["model_args"])
    return f"timm's `{config['architecture']}` with\n`{args}`."
