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

timm's `{architecture}` with
`{args}`.

```python
import timm

model = timm.create_model("local-dir:PATH/TO/{name}", pretrained=True).eval()
data = timm.data.resolve_model_data_config(model)
transform = timm.data.create_transform(**data, is_training=False)
logits = model(transform(image).unsqueeze(0))  # image: PIL, {mode}
```

It needs torch and timm >= 1.0.17, nothing else. `num_classes=` replaces the classifier for
fine-tuning{grey}. On the Hub the same files load by `hf-hub:USER/NAME`. `proof.json` tells what
was compared before the folder was called done.

- images: {images}
- classes: {classes}
{known}"""


def make_card(config: Mapping[str, Any], known: Mapping[str, Any], name: str) -> str:
    """Returns the card of a folder.

    Args:
        config: Its config.json.
        known: Where the network comes from; texts of several lines get a section each.
        name: The folder's name.
    """
    cfg = config["pretrained_cfg"]
    channels, height, width = cfg["input_size"]
    labels = ", ".join(config.get("label_names", ()))
    return TEXT.format(
        name=name,
        license=cfg["license"],
        architecture=config["architecture"],
        args=json.dumps(config["model_args"]),
        mode={1: "mode L", 3: "mode RGB"}.get(channels, f"{channels} channels"),
        grey=", `in_chans=1` adapts it to grey images" if channels == 3 else "",
        images=f"{channels} x {height} x {width}, mean {cfg['mean']}, std {cfg['std']}",
        classes=f"{config['num_classes']}" + (f" ({labels})" if labels else ""),
        known=_known(known),
    )


def _known(known: Mapping[str, Any]) -> str:
    long = {k: v for k, v in known.items() if isinstance(v, str) and "\n" in v}
    lines = [
        f"- {key}: {value if isinstance(value, str) else json.dumps(value)}\n"
        for key, value in known.items()
        if key not in long and value is not None
    ]
    sections = [f"\n## {key}\n\n```yaml\n{value.strip()}\n```\n" for key, value in long.items()]
    return "".join([*lines, *sections])
