"""The page of the language is current, and every example on it is a spec that loads."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from flopwise.blocks import BLOCKS, Block, Map
from flopwise.dsl import load, loads

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
vars: {w: 64, k: 3}
net:
  stem:   {block: conv, dim: $w, kernel: $k, stride: 2}
  stage1: {block: residual, depth: 2}
  stage2: {block: convnext, depth: 2, dim: 128, stride: 2}
  body:   {block: vit, depth: 2, heads: 4}
  head:   {block: classifier, pool: avg, norm: ln}
"""


def test_the_page_is_what_the_tables_say() -> None:
    assert generate.written(TEXT) == TEXT, "run  python docs/generate.py"


@pytest.mark.parametrize("text", EXAMPLES, ids=lambda text: text.split("\n")[1][:24])
def test_every_example_on_the_page_loads(text: str, tmp_path: Path) -> None:
    check(text, tmp_path)


@pytest.mark.parametrize(
    ("section", "key"),
    [(name, key) for name, (rules, _) in generate.SECTIONS.items() for key in rules],
)
def test_every_key_has_an_example_that_loads(section: str, key: str, tmp_path: Path) -> None:
    rules, wrap = generate.SECTIONS[section]
    example = rules[key].example
    assert re.match(rf"{key}: ", example), f"{section}.{key} has no example"
    if key not in ("spec", "name", "extends", "use", "net", "block"):
        check(wrap.replace("...", example), tmp_path)


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
    lines += [] if block.head else ["  head: {block: classifier}"]
    text = "\n".join(lines)
    return f"spec: 1\nname: shown\ninput: {{size: 64}}\nclasses: 10\nnet:\n{text}\n"
