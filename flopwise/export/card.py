"""README.md of an exported folder: what it is, how to load it, how it was found."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from flopwise.export.config import origin_of
from flopwise.export.versions import OLDEST

__all__ = ["COUNTED", "make_card"]

TEXT = """---
library_name: timm
license: {license}
tags: [image-classification, timm]
---
# {name}

{what}

```python
{load}
data = timm.data.resolve_model_data_config(net)
transform = timm.data.create_transform(**data, is_training=False)
logits = net(transform(image).unsqueeze(0))  # image: PIL, {mode}
```

It needs torch and timm >= {oldest}, nothing else.{tuned}{features}

{hub}

{proof}{files}

## Figures

{figures}
## Images

- size: {images}
- classes: {classes}

## Origin

{known}"""

PROVEN = """{proof}.

`proof.json` tells what was compared before the folder was called done; `flopwise verify` compares
it again."""
UNPROVEN = "This folder is not proven: nobody has compared what timm loads with what was trained."

NATIVE = {
    "what": "timm's `{architecture}` with\n`{args}`.",
    "load": 'import timm\n\nnet = timm.create_model("local-dir:PATH/TO/{name}", '
    "pretrained=True).eval()",
    "hub": "On the Hub the same files load by `hf-hub:USER/NAME`.",
}
CARRIER = NATIVE | {
    "what": "A network of mobile blocks in timm's `{architecture}`, with the `model_args` of "
    "config.json.\n`timm.models.save_for_hf` needs these from the file, since timm changes its own "
    "copy as it builds.{dead}",
}
DEAD = """

{dead_params:,} of its {params:,} parameters and {dead_macs:,} of its {macs:,} multiply-accumulates
belong to layers in the head of timm's class that the network has not. They hold what changes
nothing; before training it further, `timm.utils.freeze(net, {layers})` keeps them so."""
STANDALONE = {
    "what": "A network of no family that timm has. `model.py` holds its classes; importing it "
    "registers\n`{architecture}` with timm.",
    "load": "import sys, timm\n\n"
    'sys.path.insert(0, "PATH/TO/{name}")\nimport model  # registers it\n'
    'net = timm.create_model("{architecture}", pretrained=True).eval()',
    "hub": "After that import the names `local-dir:PATH/TO/{name}` and, on the Hub, "
    "`hf-hub:USER/NAME`\nload it as well.",
}
COUNTED = {
    "macs": "multiply-accumulates for one image: convolutions, linear layers and attention "
    "products; a multiplication and its addition are one",
    "params": "learned numbers",
    "activations": "numbers that those layers put out for one image",
}


def make_card(
    config: Mapping[str, Any],
    name: str,
    *,
    proof: str = "",
    files: Mapping[str, str] | None = None,
    features: Mapping[str, Sequence[int]] | None = None,
) -> str:
    """Returns the card of a folder.

    Args:
        config: Its config.json; texts of several lines in its root get a section each.
        name: The folder's name.
        proof: What was proven, in a sentence; empty for nothing.
        files: Other forms of the network in the folder: file -> what it is.
        features: What timm's `features_only` gives, as in `Proof`; None if that is not known.
    """
    cfg, known = config["pretrained_cfg"], origin_of(config)
    channels, height, width = cfg["input_size"]
    labels = ", ".join(config.get("label_names", ()))
    form = {"standalone": STANDALONE, "carrier": CARRIER}.get(known.get("tier", ""), NATIVE)
    words = {
        "name": name,
        "architecture": config["architecture"],
        "args": json.dumps(config["model_args"]),
        "dead": DEAD.format(**known["shipped"]) if "shipped" in known else "",
    }
    return TEXT.format(
        name=name,
        license=cfg["license"],
        **{key: text.format(**words) for key, text in form.items()},
        tuned=_tuned(cfg, channels),
        features="" if features is None else f"\n\n{_features(features)}",
        oldest=OLDEST,
        proof=PROVEN.format(proof=proof[0].upper() + proof[1:]) if proof else UNPROVEN,
        files="".join(f"\n\n`{file}` is {what}." for file, what in (files or {}).items()),
        mode={1: "mode L", 3: "mode RGB"}.get(channels, f"{channels} channels"),
        figures="".join(f"- {line}\n" for line in _figures(known)),
        images=f"{channels} x {height} x {width}, mean {cfg['mean']}, std {cfg['std']}",
        classes=f"{config['num_classes']}" + (f" ({labels})" if labels else ""),
        known=_known(known),
    )


def _tuned(cfg: Mapping[str, Any], channels: int) -> str:
    """What timm may change in it."""
    said = " `num_classes=` replaces the classifier for\nfine-tuning" if "classifier" in cfg else ""
    if channels == 3 and "first_conv" in cfg:
        said += ", `in_chans=1` adapts it to grey images" if said else " `in_chans=1` adapts it"
    return f"{said}." if said else ""


def _features(found: Mapping[str, Sequence[int]]) -> str:
    """How the network is used below another head."""
    if not found:
        return "`features_only=True` gives nothing: no stage of it puts out a map."
    widths, steps = (", ".join(map(str, found[key])) for key in ("channels", "steps"))
    what = f"maps of {widths} channels,\none value for each {steps} pixels along a side"
    if "out_indices" not in found:
        return f"`features_only=True` gives {what}."
    asked = f"`features_only=True, out_indices={tuple(found['out_indices'])}`"
    return f"{asked} gives {what}.\nWithout `out_indices` timm asks it for five levels and fails."


def _figures(known: Mapping[str, Any]) -> Iterator[str]:
    """Yields counts and scores, each with what it is."""
    for key, meaning in COUNTED.items():
        if key in known:
            yield f"{key}: {known[key]:,} ({meaning})"
    for scores in known.get("scores", ()):
        told = ", ".join(f"{name} {value:.2f}" for name, value in scores["values"].items())
        yield f"{scores['of']}: {told} ({scores['what']})"


def _known(known: Mapping[str, Any]) -> str:
    told = {*COUNTED, "scores", "macs_convention"}
    plain = {k: v for k, v in known.items() if k not in told}
    long = {k: v for k, v in plain.items() if isinstance(v, str) and "\n" in v}
    lines = [
        f"- {key}: {value if isinstance(value, str) else json.dumps(value)}\n"
        for key, value in plain.items()
        if key not in long and value is not None
    ]
    sections = [f"\n## {key}\n\n```yaml\n{value.strip()}\n```\n" for key, value in long.items()]
    return "".join([*lines, *sections])
