"""The schema takes every good spec, and refuses what it can know to be wrong."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest

import flopwise
from flopwise.blocks import BLOCKS
from flopwise.dsl import tables
from flopwise.dsl.load import decode, make_source, parse
from flopwise.dsl.recipe import recipe_rules
from flopwise.dsl.schema import make_schema
from flopwise.dsl.shapes import value_schema
from flopwise.dsl.tree import Items, Node, Section
from flopwise.dsl.values import Rule
from flopwise.errors import SpecError

PACKAGE = Path(flopwise.__file__).parent
ROOT = PACKAGE.parent
TESTS = Path(__file__).parent.parent
GOOD = sorted(
    [
        *(path for path in PACKAGE.rglob("*.yaml") if path.parent.name != "recipes"),
        *(ROOT / "examples").rglob("*.yaml"),
        TESTS / "property" / "specimen.yaml",
    ]
)
BROKEN = sorted((TESTS / "golden" / "errors").glob("*.yaml"))
# What a schema can say: whole kinds of faults, and single files of other kinds.
REFUSED = {"E017", "E018", "E107"}
REFUSED_FILES = {
    *("E101_block", "E102_setting", "E201_domain", "E201_features", "E201_from", "E201_net_list"),
    *("E201_require", "E201_shapes", "E201_table", "E204_objective", "E204_words", "E417_ref"),
    *("E103_no_block", "E106_empty_net", "E106_missing", "E106_spec", "E106_table"),
    *("E108_names", "E108_row", "E202_no_dollar", "E202_types", "E203_ranges", "E206_domain"),
    *("E206_even", "E415_start", "E502_budget", "E502_choice"),
}
VALIDATOR = jsonschema.Draft7Validator(make_schema())


def plain(node: Node) -> object:
    if isinstance(node, Section):
        return {name: plain(each) for name, each in node.entries.items()}
    return [plain(item) for item in node.items] if isinstance(node, Items) else node.value


def read(path: Path) -> object:
    text = decode(path.read_bytes(), path.name)
    return plain(parse(text, make_source(path.name, text)))


def readable(path: Path) -> bool:
    try:
        read(path)
    except SpecError:
        return False
    return True


def is_broken(text: str) -> bool:
    return not VALIDATOR.is_valid(plain(parse(text, make_source("t", text))))


def test_the_schema_is_draft_07() -> None:
    jsonschema.Draft7Validator.check_schema(make_schema())


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_a_good_spec_is_taken(path: Path) -> None:
    faults = [
        f"{list(e.absolute_path)}: {e.message[:300]}" for e in VALIDATOR.iter_errors(read(path))
    ]
    assert faults == []


@pytest.mark.parametrize(
    "path",
    [
        path
        for path in BROKEN
        if readable(path) and (path.stem[:4] in REFUSED or path.stem in REFUSED_FILES)
    ],
    ids=lambda path: path.stem,
)
def test_a_fault_that_a_schema_can_say_is_refused(path: Path) -> None:
    assert not VALIDATOR.is_valid(read(path))


def test_every_fault_that_is_said_to_be_refused_is_shown_somewhere() -> None:
    stems = {path.stem for path in BROKEN}
    assert stems >= REFUSED_FILES
    assert {stem[:4] for stem in stems} >= REFUSED


HEAD = "spec: 1\nname: n\n"
NET = "net: {a: {block: conv, dim: 8}, b: {block: classifier}}\n"


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ("input: {size: [32, 48]}", "input: {size: [32]}"),
        ("classes: $(2*5)", "classes: 0"),
        ("vars: {w: 8, list: [1, 2]}", "vars: {macs: 8}"),
        ("train: {amp: bf16, lr: $(1/100)}", "train: {amp: fp16}"),
        ("expect: {macs: 4.5G}", "expect: {macs: $w}"),
        ("search: {space: {w: {range: [1, 9], step: 2}}}", "search: {space: {w: {range: [1]}}}"),
        (
            "search: {space: {}, budget: {macs: {target: 1G, within: 5%}}}",
            "search: {space: {}, budget: {macs: {target: 1G}}}",
        ),
        ("x_mine: {anything: [1]}", "mine: 1"),
        ("defaults: {conv: {kernel: 5}}", "defaults: {conv: {kernal: 5}}"),
        ("use: [./a.py]", "use: ./a.py"),
    ],
)
def test_sections_take_what_the_language_takes(good: str, bad: str) -> None:
    assert not is_broken(HEAD + NET + good)
    assert is_broken(HEAD + NET + bad)


@pytest.mark.parametrize(
    ("stage", "broken"),
    [
        ("{block: conv, dim: $w, kernel: 3}", False),
        ("{block: conv, dim: 8, when: $(w > 3), from: [a, b]}", False),
        ("{block: conv, dim: 8, kernel: 4}", True),
        ("{block: conv, dim: eight}", True),
        ("{block: conv, dmi: 8}", True),
        ("{block: $kind, dim: 8}", False),
        ("{block: $kind, dmi: 8}", True),
        ("{block: cnov, dim: 8}", True),
        ("{dim: 8}", True),
        ("null", False),
    ],
)
def test_stages_are_checked_by_their_block(stage: str, broken: bool) -> None:
    assert is_broken(f"{HEAD}net: {{a: {stage}}}\n") == broken


def test_a_child_may_leave_out_what_its_parent_says() -> None:
    assert not is_broken(f"{HEAD}extends: ./a.yaml\nnet: {{a: {{dim: 8}}, b: null}}\n")
    assert not is_broken(f"{HEAD}extends: ./a.yaml\n")
    assert not is_broken(f"{HEAD}extends: ./a.yaml\nnet: {{a: {{block: mine, size: 8}}}}\n")


OWN = """\
spec: 1
name: own
input: {size: 32}
classes: 10
blocks:
  fire:
    params: {dim: int, ratio: {type: float, default: 0.5, min: 0, max: 1}}
    net:
      thin: {block: conv, dim: $(round(dim*ratio)), kernel: 1}
      wide: {block: conv, dim: $dim}
net:
  a: {block: fire, dim: 16}
  head: {block: classifier}
"""


def test_the_schema_of_a_spec_knows_its_own_blocks() -> None:
    validator = jsonschema.Draft7Validator(flopwise.loads(OWN).schema())
    assert validator.is_valid(plain(parse(OWN, make_source("t", OWN))))
    for old, new in (("fire, d", "fier, d"), ("dim: 16", "dim: 1.5"), ("16}", "16, raito: 0.1}")):
        wrong = OWN.replace(old, new)
        assert not validator.is_valid(plain(parse(wrong, make_source("t", wrong)))), new


RULES = {
    f"{section}.{name}": rule
    for section, rules in vars(tables).items()
    if section.isupper() and isinstance(rules, dict)
    for name, rule in rules.items()
    if isinstance(rule, Rule)
} | {f"train.{name}": rule for name, rule in recipe_rules().items()}


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_every_key_has_help_and_an_example_that_its_schema_takes(rule: Rule) -> None:
    assert rule.doc.endswith(".")
    key, _, below = rule.example.partition(":")
    assert key == rule.name
    if below.strip().startswith("and "):  # too large for one line
        return
    tree = parse(rule.example, make_source("t", rule.example))
    assert isinstance(tree, Section)
    value = plain(tree.entries[key])
    assert jsonschema.Draft7Validator(value_schema(rule)).is_valid(value)


def test_hovering_shows_help_and_defaults() -> None:
    schema = make_schema()
    stages = schema["definitions"]["stage"]["allOf"]
    conv = next(
        each["then"] for each in stages if each["if"]["properties"]["block"]["const"] == "conv"
    )
    field = BLOCKS["conv"].fields["kernel"]
    assert conv["properties"]["kernel"]["description"].startswith(field.doc)
    assert conv["properties"]["kernel"]["default"] == field.default
    assert schema["properties"]["train"]["anyOf"][0]["properties"]["lr"]["default"] == 1e-3
    for name, each in schema["properties"].items():
        assert each.get("description") or "const" in each or name == "name", name
