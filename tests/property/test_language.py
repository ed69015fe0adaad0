"""Whatever stands in a file, the answer is a network or a list of faults."""

from __future__ import annotations

import ast
import re
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from flopwise.dsl import Spec, load, loads
from flopwise.dsl.expr import parse_expression
from flopwise.dsl.load import make_source, parse
from flopwise.dsl.tree import Items, Node, Scalar, Section
from flopwise.errors import Place, SpecError, render

ERRORS = Path(__file__).parent.parent / "golden" / "errors"
SEEDS = [
    *(path.read_bytes() for path in sorted(ERRORS.glob("*.yaml"))),
    Path(__file__).with_name("specimen.yaml").read_bytes(),
]
PIECES = [
    *"{}[]:,#&*!|>'\"%@`?-$()\n\t\\ ",
    "\n  ",
    ": ",
    "- ",
    "$(",
    "<<: ",
    "null",
    "true",
    "yes",
    "1e999",
    "0x10",
    "-1",
    "9" * 30,
    "é",
    "\u202e",
    "\x00",
    "\U0001f600",
    "from",
    "block: conv",
    "extends: std/resnet18",
    "after: stem",
    "depth: 100000",
    "dim: 0",
    "$(w*w*w*w*w*w*w*w*w*w*w*w*w)",
    "classes",
]


def outcome(data: bytes, path: Path) -> Spec | SpecError:
    path.write_bytes(data)
    try:
        return load(path)
    except SpecError as error:
        return error


def check_outcome(found: Spec | SpecError) -> None:
    if isinstance(found, Spec):
        assert found.network().graph.macs >= 0
        return
    assert found.faults
    for style in ("long", "short", "json"):
        assert render(found.faults, style)  # type: ignore[arg-type]
    for fault in found.faults:
        assert re.fullmatch(r"[EW]\d{3}", fault.code)
        assert fault.message and "\n" not in fault.message
        assert fault.place is None or 1 <= fault.place.line <= len(fault.place.source.lines) + 1


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz") / "spec.yaml"


@given(data=st.binary(max_size=200))
@settings(max_examples=150)
def test_random_bytes_give_faults_and_nothing_else(file: Path, data: bytes) -> None:
    check_outcome(outcome(data, file))


@given(
    seed=st.sampled_from(SEEDS),
    cuts=st.lists(
        st.tuples(st.floats(0, 1), st.integers(0, 6), st.sampled_from(PIECES)),
        min_size=1,
        max_size=4,
    ),
)
@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow])
def test_mutated_specs_give_a_network_or_faults(
    file: Path, seed: bytes, cuts: list[tuple[float, int, str]]
) -> None:
    for where, length, piece in cuts:
        at = int(where * len(seed))
        seed = seed[:at] + piece.encode() + seed[at + length :]
    check_outcome(outcome(seed, file))


def plain(node: Node) -> object:
    if isinstance(node, Section):
        return {name: plain(each) for name, each in node.entries.items()}
    if isinstance(node, Items):
        return [plain(each) for each in node.items]
    assert isinstance(node, Scalar)
    place = (node.place.line, node.place.column) if node.value is not None else ()
    return (type(node.value).__name__, node.value, *place)


def parsed(text: str, *, pure: bool) -> object:
    try:
        return plain(parse(text, make_source("t", text), pure=pure))
    except SpecError:
        return None


@given(
    seed=st.sampled_from([seed.decode("latin-1") for seed in SEEDS]),
    cuts=st.lists(st.tuples(st.floats(0, 1), st.sampled_from(PIECES)), max_size=3),
)
@settings(max_examples=200)
def test_both_yaml_parsers_read_the_same(seed: str, cuts: list[tuple[float, str]]) -> None:
    for where, piece in cuts:
        at = int(where * len(seed))
        seed = seed[:at] + piece + seed[at:]
    ours, theirs = parsed(seed, pure=False), parsed(seed, pure=True)
    if ours is not None and theirs is not None:  # they may differ in what they refuse
        assert ours == theirs


# --- expressions -------------------------------------------------------------------------------

NUMBERS = st.one_of(
    st.integers(0, 300).map(str), st.decimals(0, 50, places=2).map(lambda d: str(float(d)))
)


def combine(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    pairs = st.tuples(inner, st.sampled_from(["+", "-", "*", "//", "%"]), inner)
    compared = st.tuples(inner, st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), inner)
    called = st.tuples(st.sampled_from(["min", "max"]), inner, inner)
    return st.one_of(
        pairs.map(lambda t: f"{t[0]} {t[1]} {t[2]}"),
        inner.map(lambda t: f"({t})"),
        inner.map(lambda t: f"-({t})"),
        inner.map(lambda t: f"abs({t})"),
        called.map(lambda t: f"{t[0]}({t[1]}, {t[2]})"),
        st.tuples(inner, compared, inner).map(
            lambda t: f"({t[0]} if ({t[1][0]}) {t[1][1]} ({t[1][2]}) else {t[2]})"
        ),
    )


TERMS = st.recursive(st.one_of(NUMBERS, st.sampled_from(["w", "x"])), combine, max_leaves=12)
SCOPE = {"w": 96, "x": 2.5}


@given(text=TERMS)
@settings(max_examples=300)
def test_arithmetic_is_pythons(text: str) -> None:
    assume(len(text) < 400)
    place = Place(make_source("t", text), 1, 1, len(text))
    try:
        wanted = eval(compile(ast.parse(text, mode="eval"), "t", "eval"), {}, SCOPE)
    except ZeroDivisionError:
        wanted = None
    try:
        ours = parse_expression(f"$({text})", place).evaluate(SCOPE)
    except SpecError as error:
        code = error.faults[0].code
        assert code == "E406" or wanted is None or abs(wanted) > 2**52  # too deep, or too large
        return
    assert ours == wanted and type(ours) is type(wanted)


@given(a=st.integers(-1000, 1000), b=st.integers(1, 64))
def test_division_is_whole_where_it_comes_out_even(a: int, b: int) -> None:
    value = parse_expression("$(a / b)", Place(make_source("t", "x"), 1, 1)).evaluate(
        {"a": a, "b": b}
    )
    assert value == a / b
    assert isinstance(value, int) == (Fraction(a, b).denominator == 1)


@given(text=st.text(alphabet="0123456789.+-*/%()[]<>=!, wxif'orandelsnti\"$&", max_size=40))
@settings(max_examples=300)
def test_any_text_is_an_expression_or_a_fault(text: str) -> None:
    place = Place(make_source("t", text), 1, 1, max(1, len(text)))
    try:
        expression = parse_expression(f"$({text})", place)
        expression.evaluate(SCOPE | {"i": 0, "n": 1, "t": "a", "s": "b"})
    except SpecError as error:
        assert error.faults and str(error)


# --- networks ----------------------------------------------------------------------------------


@st.composite
def networks(draw: st.DrawFn) -> str:
    """Draws the text of a random network: stem, stages of several families, maybe a branch."""
    w = draw(st.sampled_from([8, 16, 24]))
    lines = [f"  stem: {{block: conv, dim: {w}, norm: bn, act: relu}}"]
    for index in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(["basic", "residual", "convnext", "conv", "branch"]))
        depth = draw(st.integers(1, 3))
        if kind == "branch":
            before = lines[-1].split(":")[0].strip()
            lines.append(f"  left{index}: {{block: conv, dim: {w}, from: {before}}}")
            lines.append(f"  right{index}: {{block: conv, dim: {w}, from: {before}}}")
            join = draw(st.sampled_from(["add", "concat"]))
            lines.append(f"  s{index}: {{block: {join}, from: [left{index}, right{index}]}}")
            lines.append(f"  t{index}: {{block: conv, dim: {w}, kernel: 1}}")
            continue
        extra = draw(
            st.sampled_from(["", ", kernel: 5", ", stride: 2"])
            if kind != "conv"
            else st.sampled_from(["", ', dim: "$(pick(i % 2, 8, 16))"'])
        )
        lines.append(f"  stage{index}: {{block: {kind}, depth: {depth}{extra}}}")
        if kind == "conv":
            lines.append(f"  back{index}: {{block: conv, dim: {w}, kernel: 1}}")
    lines.append(draw(st.sampled_from(["  head: {block: classifier}", HEAD_OF_TOKENS])))
    size = draw(st.sampled_from(["32", "[32, 48]"]))
    return f"spec: 1\nname: drawn\ninput: {{size: {size}}}\nclasses: 10\nnet:\n" + "\n".join(lines)


HEAD_OF_TOKENS = """  tokens: {block: to_tokens}
  token: {block: class_token}
  body: {block: vit, heads: 2, depth: 2}
  head: {block: classifier, pool: cls, norm: ln}"""


@given(text=networks())
@settings(max_examples=60)
def test_a_rendered_network_is_a_fixed_point(text: str) -> None:
    spec = loads(text)
    rendered = spec.render()
    again = loads(rendered)
    assert again.network().hash == spec.network().hash
    assert again.render() == rendered
    for cost in ("macs", "params", "activations"):
        assert getattr(again.network().graph, cost) == getattr(spec.network().graph, cost)


@given(text=networks(), random=st.randoms(use_true_random=False))
@settings(max_examples=60)
def test_comments_key_order_and_names_leave_the_hash(text: str, random: object) -> None:
    wanted = loads(text).network().hash
    lines = []
    for line in text.splitlines():
        stage = re.fullmatch(r"(\s+\w+: )\{(block: .*)\}", line)
        if stage:
            keys = re.findall(r'\w+: (?:\[[^]]*\]|"[^"]*"|[^,]+)', stage[2])
            random.shuffle(keys)  # type: ignore[attr-defined]
            line = f"{stage[1]}{{{', '.join(keys)}}}  # a comment"
        lines.append(line)
    shuffled = "\n".join(lines)
    names = set(re.findall(r"^  (\w+):", shuffled, re.MULTILINE))
    for name in names:
        shuffled = re.sub(rf"\b{name}\b(?!:\s*\[)(?=[:,\]}}])", f"renamed_{name}", shuffled)
    assert loads(shuffled).network().hash == wanted


@given(text=networks(), width=st.sampled_from([8, 16, 24]))
@settings(max_examples=30)
def test_a_variable_may_stand_for_any_width_under_any_name(text: str, width: int) -> None:
    spec = loads(text)
    for name in ("w", "breadth"):
        body = re.sub(r"dim: (8|16|24)\b", rf"dim: $({name} + \1 - {width})", text)
        head, net = body.split("net:\n", 1)
        assert loads(f"{head}vars: {{{name}: {width}}}\nnet:\n{net}").network().hash == (
            spec.network().hash
        )


SEARCH = """
spec: 1
name: searched
input: {size: 32}
classes: 10
vars: {w: 16, k: 3, kind: basic}
defaults: {basic: {act: relu}}
net:
  stem: {block: conv, dim: $w, kernel: $k}
  body: {block: $kind, depth: 2, dim: $w}
  head: {block: classifier}
"""


@given(
    picks=st.fixed_dictionaries(
        {},
        optional={
            "w": st.integers(1, 64),
            "k": st.sampled_from([1, 3, 5, 4]),
            "kind": st.sampled_from(["basic", "residual", "conv", "convnext"]),
            "net.body.depth": st.integers(1, 4),
            "net.body.block": st.sampled_from(["basic", "residual"]),
            "defaults.basic.act": st.sampled_from(["gelu", "relu"]),
            "defaults.norm": st.sampled_from(["bn", "ln", "none"]),
            "input.size": st.sampled_from([16, 32]),
            "classes": st.integers(1, 20),
            "train.lr": st.sampled_from([0.1, 0.01]),
        },
    )
)
@settings(max_examples=80)
def test_picks_are_sets(picks: dict[str, object]) -> None:
    spec = loads(SEARCH)
    sets = [(path, str(value)) for path, value in picks.items()]
    try:
        wanted = loads(SEARCH, sets=sets)
    except SpecError as error:
        with pytest.raises(SpecError) as caught:
            spec.network(picks)  # type: ignore[arg-type]
        assert {f.code for f in caught.value.faults} == {f.code for f in error.faults}
        return
    assert spec.network(picks).hash == wanted.network().hash  # type: ignore[arg-type]
    assert spec.recipe_for(picks) == wanted.recipe  # type: ignore[arg-type]
    assert loads(spec.render(picks)).network().hash == wanted.network().hash  # type: ignore[arg-type]
