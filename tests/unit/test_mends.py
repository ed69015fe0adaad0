"""What newcomers get wrong, and the words that mend it.

Whole messages are in tests/golden/errors.
"""

from __future__ import annotations

import pytest

from flopwise.dsl import loads
from flopwise.errors import SpecError

HEAD = "spec: 1\nname: net\ninput: {size: 32}\nclasses: 10\nvars: {w: 8, mode: conv, share: 25%}\n"
# what stands in the stage behind `block: conv, `, the code, and words of its help
SETTINGS = {
    "dim: $(w*share)": ("E407", "write 0.25"),
    'dim: "$(round(w, 0))"': ("E407", "round(x)"),
    'dim: "$(floor(log(w, 2)))"': ("E407", "log(x) / log(2)"),
    "dim: $(64 if w)": ("E406", "a if condition else b"),
    'dim: "${WIDTH:-64}"': ("E406", "$WIDTH"),
    'when: "$(mode == \u2018conv\u2019)"': ("E406", "straight quotes"),
    "when: mode == conv": ("E202", "$(mode == 'conv')"),
    "dim: {{w}}": ("E406", "$w"),
    "kernel: (3, 3)": ("E014", "kernel: [3, 3]"),
    "stride \u2013 2": ("E014", "stride: 2"),
    "dim: 1,024": ("E014", "1024"),
    "dilation: 2": ("E102", "larger kernel"),
    "from: [-1, 0]": ("E201", "ids"),
    'from: "input[1]"': ("E104", "a stage of its own"),
}
BLOCKS = {
    "nn.Conv2d": "conv",
    "TransformerEncoderLayer": "vit",
    "conv_transpose": "upsample",
    "interpolate": "upsample",
    "resnet50": "std/resnet50",
}
WORDS = {
    "convnext, mlp: 4": "expand",
    "mbconv, expand_ratio: 4": "expand",
    "vit, head_dim: 32": "heads",
    "maxpool, padding: 1": "pad",
    "upsample, scale_factor: 2": "scale",
}


def helps(stage: str, more: str = "") -> tuple[set[str | None], str]:
    text = f"{HEAD}net:\n  stem: {{{stage}}}\n  head: {{block: classifier}}\n{more}"
    with pytest.raises(SpecError) as caught:
        loads(text)
    faults = caught.value.faults
    said = " ".join(f"{each.message} {each.helps}" for each in faults)
    return {each.code for each in faults}, said


@pytest.mark.parametrize(("setting", "told"), SETTINGS.items(), ids=SETTINGS)
def test_a_slip_is_told_once_with_what_to_write(setting: str, told: tuple[str, str]) -> None:
    codes, said = helps(f"block: conv, {setting}")
    assert codes == {told[0]} and told[1] in said


@pytest.mark.parametrize(("block", "meant"), BLOCKS.items())
def test_a_block_of_another_framework_is_found(block: str, meant: str) -> None:
    assert meant in helps(f"block: {block}")[1]


@pytest.mark.parametrize(("stage", "meant"), WORDS.items())
def test_a_setting_of_another_framework_is_found(stage: str, meant: str) -> None:
    assert f"did you mean '{meant}'?" in helps(f"block: {stage}")[1]


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        ("".join(f"  s{i}: yes\n" for i in range(2000)), "E006"),
        ("  s: 1\n" * 2000, "E003"),
        ("  s: {a: " + "1," * 100_000 + "1}\n", "E014"),
        ('  s: "a\n' * 2000, "E013"),
    ],
)
def test_thousands_of_slips_are_still_told(lines: str, code: str) -> None:
    assert code in helps("block: conv", f"x_notes:\n{lines}")[0]


def test_a_resolved_spec_and_a_parent_of_many_children_give_no_warning() -> None:
    text = "spec: 1\nname: child\nextends: std/resnet18\nnet: {stem: {block: conv, dim: 64}}\n"
    assert not loads(text).warnings  # resnet18's variable for its own stem is not the child's
    assert not loads(loads(text).render()).warnings


def test_a_block_of_one_that_cannot_be_read_has_nothing_to_answer_for() -> None:
    blocks = "blocks:\n  outer: {net: {s: {block: inner}}}\n  inner: {nets: 3}\n"
    assert helps("block: outer", blocks)[0] == {"E107"}
