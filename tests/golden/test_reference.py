"""The page of the language is current, and every example on it is a spec that loads."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from flopwise.blocks import BLOCKS, Block, Map
from flopwise.dsl import load, loads

COSTS = ("macs", "params", "activations")

DOCS = Path(__file__).parent.parent.parent / "docs"
SPEC = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
assert SPEC and SPEC.loader
generate = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(generate)

TEXT = (DOCS / "language.md").read_text()
EXAMPLES = [
    text for text in re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL) if "stage: {" not in text
]
BASE = """\
spec: 1
name: base
input: {size: 64}
classes: 10
vars: {w: 64, k: 3, kind: wide, se: true, a: [stage1], b: [conv, norm, act]}
net:
  stem:   {block: conv, dim: $w, kernel: $k, stride: 2}
  stage1: {block: residual, depth: 2}
  stage2: {block: residual, depth: 2}
  body:   {block: add, from: [stage2, stage1]}
  stage4: {block: convnext, depth: 2, dim: 128, stride: 2}
  head:   {block: classifier, pool: avg, norm: ln}
"""
SPACE = "search: {space: {w: {range: [48, 128], step: 8}}, ...}"
BLOCK = "blocks: {mine: {net: {body: {block: conv}, gate: {block: act, from: body}}, ...}}"
CONTEXTS = {  # where the example of a key stands in a spec, and the keys for which that differs
    "top": ("...", {}),
    "input": ("input: {...}", {}),
    "stage": ("net: {stage1: {...}}", {"from": "net: {body: {block: add, ...}}"}),
    "composite": (BLOCK, {
        "net": "blocks: {mine: {...}}",
        "output": BLOCK.replace("body: {block: conv}", "map: {block: conv}, body: {block: conv}"),
        "ports": "blocks: {mine: {net: {body: {block: add, from: [main, skip]}}, ...}}",
    }),
    "param": ("blocks: {mine: {params: {x: {type: int, ...}}, net: {a: {block: conv, dim: $x}}}}", {
        "type": "blocks: {mine: {params: {x: {...}}, net: {a: {block: conv, dim: $x}}}}",
        "choices": "blocks: {mine: {params: {x: {type: choice, ...}}, net: {a: {block: act}}}}",
    }),
    "expect": ("expect: {...}", {}),
    "search": (SPACE, {"space": "search: {...}"}),
    "domain": ("search: {space: {w: {...}}}", {
        "step": "search: {space: {w: {range: [48, 128], ...}}}",
        "log": "search: {space: {train.lr: {range: [1.0e-4, 1.0e-2], ...}}}",
        "subset": "search: {space: {a: {...}}}",
        "min": "search: {space: {a: {subset: [stage1, stage2, stage3], ...}}}",
        "max": "search: {space: {a: {subset: [stage1, stage2, stage3], ...}}}",
        "permutation": "search: {space: {b: {...}}}",
        "when": "search: {space: {w: {choice: [32, 64], ...}}}",
    }),
    "fit": ("search: {space: {k: {choice: [3, 5]}, w: {range: [16, 64], step: 8}}, fit: "
            "{vary: w, to: {macs: 300M}, ...}}", {
        "vary": "search: {space: {w: {range: [16, 64], step: 8}}, fit: {to: {macs: 300M}, ...}}",
        "to": "search: {space: {w: {range: [16, 64], step: 8}}, fit: {vary: w, ...}}",
        "range": "search: {space: {k: {choice: [3, 5]}}, fit: {vary: w, to: {macs: 1G}, ...}}",
        "step": "search: {space: {k: {choice: [3, 5]}}, fit: "
                "{vary: w, to: {macs: 1G}, range: [48, 128], ...}}",
    }),
    "sampler": (SPACE.replace("...", "sampler: {...}"), {
        "short": SPACE.replace("...", "sampler: {kind: screened, ...}"),
        "scores": SPACE.replace("...", "sampler: {kind: screened, ...}"),
        "args": SPACE.replace("...", "sampler: {class: optuna.samplers.TPESampler, ...}"),
    }),
    "evaluator": (SPACE.replace("...", "evaluator: {...}"), {
        "table": SPACE.replace("...", "evaluator: {..., scores: {top1: accuracy}}"),
        "key": SPACE.replace("...", "evaluator: {table: a.csv, scores: {top1: accuracy}, ...}"),
        "scores": SPACE.replace("...", "evaluator: {table: results.csv, ...}"),
        "score": SPACE.replace("...", "evaluator: {..., insist: true}"),
        "insist": SPACE.replace("...", "evaluator: {score: synflow, ...}"),
    }),
    "pruner": (SPACE.replace("...", "pruner: {...}"), {
        "args": SPACE.replace("...", "pruner: {class: optuna.pruners.MedianPruner, ...}"),
        "within": SPACE.replace("...", "pruner: {kind: halving, ...}"),
    }),
    "export": ("export: {...}", {}),
    "final": (SPACE.replace("...", "final: {...}"), {}),
    "table": ("table: {rows: {wide: {set: {w: 96}}}, ...}", {
        "rows": "table: {...}", "matrix": "table: {...}",
    }),
    "evaluate": ("evaluate: {...}", {}),
    "row": ("table: {rows: {kernel_7: {set: {k: 7}}, wide: {...}}}", {
        "explained": "table: {rows: {kernel_7: {}, wide: {ref: {macs: 1G}, ...}}}",
        "unresolved": "table: {rows: {wide: {ref: {macs: 1G}, ...}}}",
    }),
    "reason": ("table: {rows: {kernel_7: {}, wide: {ref: {macs: 1G}, explained: {macs: "
               "{why: a slip, ...}}}}}", {
        "why": "table: {rows: {kernel_7: {}, wide: {ref: {macs: 1G}, explained: {macs: "
               "{printed: kernel_7, ...}}}}}",
    }),
}  # fmt: skip
SHOWN_ONLY = {  # they stand in every spec, or name a file that is not there
    *(("top", key) for key in ("spec", "name", "extends", "use", "net")),
    ("stage", "block"),
}
RESNET50 = {("top", "expect"), ("top", "inferred"), *(("expect", key) for key in (*COSTS, "out"))}


def test_the_page_is_what_the_tables_say() -> None:
    assert generate.written(TEXT) == TEXT, "run  python docs/generate.py"


@pytest.mark.parametrize("text", EXAMPLES, ids=lambda text: text.split("\n")[1][:24])
def test_every_example_on_the_page_loads(text: str, tmp_path: Path) -> None:
    check(text, tmp_path)


@pytest.mark.parametrize(
    ("section", "key"),
    [(name, key) for name, rules in generate.SECTIONS.items() for key in rules],
)
def test_every_key_has_an_example_that_loads(section: str, key: str, tmp_path: Path) -> None:
    example = generate.SECTIONS[section][key].example
    assert re.match(rf"{key}: ", example), f"{section}.{key} has no example"
    if (section, key) in SHOWN_ONLY:
        return
    usual, others = CONTEXTS[section]
    text = others.get(key, usual).replace("...", example)
    if (section, key) in RESNET50 or section == "row":
        text = f"spec: 1\nname: shown\nextends: std/resnet50\nvars: {{k: 3}}\n{text}"
    check(text, tmp_path)


def check(text: str, folder: Path) -> None:
    if text.startswith("spec:"):
        loads(text)
        return
    (folder / "base.yaml").write_text(BASE)
    path = folder / "net.yaml"
    path.write_text(f"spec: 1\nname: child\nextends: ./base.yaml\n{text}")
    load(path)


@pytest.mark.parametrize("block", BLOCKS.values(), ids=lambda block: block.name)
def test_the_example_of_a_block_is_a_network_with_its_head(block: Block) -> None:
    loads(around(block)).network()


def around(block: Block) -> str:
    """Returns a network around the example of a block."""
    source = "{block: conv, dim: 64, stride: 2}"
    if Map not in block.takes[0]:
        source = "{block: patch_embed, patch: 8, dim: 64}"
    lines = [f"  left: {source}", f"  right: {source[:-1]}, from: input}}"]
    if block.ports == block.ports[:1] and not block.variadic:
        lines.pop()
    lines.append(f"  {generate.example(block)}")
    if block.name == "zero":  # an edge that is not there needs another beside it
        lines += ["  sum: {block: add, from: [left, stage]}"]
    lines += [] if block.head else ["  head: {block: classifier}"]
    text = "\n".join(lines)
    return f"spec: 1\nname: shown\ninput: {{size: 64}}\nclasses: 10\nnet:\n{text}\n"
