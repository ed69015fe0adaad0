"""Tables: rows, matrices, reference figures, and where rows may start."""

from __future__ import annotations

import pytest

from flopwise.dsl import Spec, load, loads
from flopwise.dsl.shipped import row_names
from flopwise.errors import SpecError
from flopwise.report.rows import compare_rows, row_facts, row_table
from flopwise.report.tables import draw

HEAD = """\
spec: 1
name: net
input: {size: 32, channels: 3}
classes: 10
vars: {w: 16, k: 3}
defaults: {conv: {kernel: $k}}
net:
  stem: {block: conv, dim: $w, stride: 2}
  body: {block: conv, dim: $(2*w), depth: 2}
  head: {block: classifier, pool: avg}
"""


def table(rows: str) -> Spec:
    return loads(f"{HEAD}table:\n{rows}")


def same(row: Spec, *sets: tuple[str, str]) -> bool:
    """Whether a row is the network that `--set` makes of the spec."""
    return row.network().hash == loads(HEAD, sets=sets).network().hash


def test_a_row_starts_from_the_row_above() -> None:
    spec = table("  rows:\n    wide: {set: {w: 32}}\n    large: {set: {k: 5}}\n")
    assert spec.rows == ("wide", "large")
    assert same(spec.row("wide"), ("w", "32"))
    assert same(spec.row("large"), ("w", "32"), ("k", "5"))
    assert spec.network().hash == loads(HEAD).network().hash


def test_with_inherit_base_every_row_starts_from_the_spec() -> None:
    rows = "  inherit: base\n  rows:\n    wide: {set: {w: 32}}\n    large: {set: {k: 5}}\n"
    assert same(table(rows).row("large"), ("k", "5"))


def test_from_names_an_earlier_row_or_the_spec() -> None:
    rows = "  rows:\n    a: {set: {w: 32}}\n    b: {set: {k: 5}}\n"
    spec = table(f"{rows}    c: {{from: a, set: {{k: 7}}}}\n    d: {{from: base}}\n")
    assert same(spec.row("c"), ("w", "32"), ("k", "7"))
    assert same(spec.row("d"))
    own = table("  rows:\n    base: {set: {w: 32}}\n    c: {from: base, set: {k: 7}}\n")
    assert same(own.row("c"), ("w", "32"), ("k", "7"))


def test_a_map_replaces_a_stage_and_null_removes_one() -> None:
    spec = table(
        "  rows:\n    patch: {set: {net.stem: {block: patchify, patch: 4, dim: $w}}}\n"
        "    short: {set: {net.body: null}}\n"
    )
    stem, *_ = spec.row("patch").network().stages
    assert (stem.block.name, stem.settings[0]["dim"], len(spec.row("patch").plan.stages)) == (
        *("patchify", 16),
        3,
    )
    assert [stage.name for stage in spec.row("short").network().stages] == ["stem", "head"]


def test_a_row_can_add_a_stage_where_it_says() -> None:
    spec = table("  rows:\n    more: {set: {net.next: {block: conv, dim: 64, after: stem}}}\n")
    assert [s.name for s in spec.row("more").network().stages] == ["stem", "next", "body", "head"]


def test_a_row_sets_single_repetitions_and_whole_keys() -> None:
    spec = table(
        '  rows:\n    one: {set: {"net.body[1].kernel": 7}}\n'
        "    few: {set: {classes: 3, input.size: [64, 32], train.lr: 0.01}}\n"
    )
    assert [each["kernel"] for each in spec.row("one").network().stages[1].settings] == [3, 7]
    few = spec.row("few")
    assert (few.classes, few.input.size, few.recipe.lr) == (3, (64, 32), 0.01)


def test_a_row_is_named_like_the_row_and_says_its_note() -> None:
    row = table("  rows:\n    wide: {set: {w: 32}, note: twice as wide}\n").row("wide")
    assert (row.name, row.network().name, row.doc) == ("wide", "wide", "twice as wide")
    assert row.table is None


def test_a_row_is_made_once() -> None:
    spec = table("  rows:\n    wide: {set: {w: 32}}\n")
    assert spec.row("wide") is spec.row("wide")


def test_the_spec_keeps_its_own_expected_costs() -> None:
    macs = loads(HEAD).network().graph.macs
    wide = loads(HEAD, sets=[("w", "32")]).network().graph.macs
    rows = f"  rows:\n    wide: {{set: {{w: 32}}, expect: {{macs: {wide}}}}}\n    same: {{}}\n"
    spec = loads(f"{HEAD}expect: {{macs: {macs}}}\ntable:\n{rows}")
    assert spec.row("same").network().graph.macs == wide


def test_what_is_set_lies_below_the_rows_and_what_is_set_on_a_row_above_them() -> None:
    text = f"{HEAD}table:\n  rows:\n    wide: {{set: {{w: 32}}}}\n"
    below = loads(text, sets=[("k", "5"), ("w", "64")])
    assert same(below.row("wide"), ("w", "32"), ("k", "5"))
    assert same(loads(text).row("wide").set([("w", "64")]), ("w", "64"))


def test_values_are_computed_after_the_rows_are_laid() -> None:
    body = table("  rows:\n    wide: {set: {w: $(4*k)}}\n    large: {set: {k: 5}}\n").row("large")
    assert body.network().stages[1].settings[0]["dim"] == 40


def test_a_row_keeps_the_search_of_its_spec() -> None:
    rows = "table:\n  rows:\n    wide: {set: {search.trials: 7}}\n"
    spec = loads(f"{HEAD}search: {{space: {{w: {{choice: [16, 32]}}}}, trials: 5}}\n{rows}")
    assert spec.search and spec.search.trials == 5
    search = spec.row("wide").search
    assert search and search.trials == 7


# --- matrices ------------------------------------------------------------------------------------

MATRIX = """\
  rows:
    first: {}
  matrix:
    width: {w8: {set: {w: 8}}, w32: {set: {w: 32}}}
    kernel: {k3: {}, k5: {set: {k: 5}}}
"""


def test_a_matrix_makes_a_row_of_every_combination_after_the_others() -> None:
    spec = table(MATRIX)
    assert spec.rows == ("first", "w8-k3", "w8-k5", "w32-k3", "w32-k5")
    assert same(spec.row("w32-k5"), ("w", "32"), ("k", "5"))


def test_exclude_leaves_combinations_out() -> None:
    assert table(f"{MATRIX}    exclude: [{{width: w8, kernel: k5}}]\n").rows[1:] == (
        *("w8-k3", "w32-k3"),
        "w32-k5",
    )
    assert table(f"{MATRIX}    exclude: [{{width: w8}}]\n").rows[1:] == ("w32-k3", "w32-k5")


def test_a_matrix_alone_is_a_table() -> None:
    spec = table("  matrix:\n    width: {w8: {set: {w: 8}}, w32: {set: {w: 32}}}\n")
    assert spec.rows == ("w8", "w32")


def test_the_first_thousand_rows_are_allowed() -> None:
    tens = ", ".join(f"{{axis}}{i}: {{{{}}}}" for i in range(10))
    axes = "".join(f"    {axis}: {{{tens.format(axis=axis)}}}\n" for axis in "abc")
    assert len(table(f"  matrix:\n{axes}").rows) == 1000
    with pytest.raises(SpecError) as caught:
        table(f"  rows: {{one: {{}}}}\n  matrix:\n{axes}")
    assert caught.value.faults[0].code == "E414"


# --- reference figures ---------------------------------------------------------------------------


def test_a_figure_is_kept_as_it_is_written_and_compared_at_that_precision() -> None:
    spec = load("std/convnext_tiny")
    assert spec.network().graph.macs == 4_455_531_264
    text = (
        "spec: 1\nname: t\nextends: std/convnext_tiny\ntable:\n  rows:\n"
        "    a: {ref: {top1: 82.10, macs: 4.46G, params: null}}\n"
        "    b: {ref: {macs: 4.5G}}\n    c: {ref: {macs: 4.45G}}\n"
        "    d: {ref: {gmacs: 4.456}}\n    e: {ref: {gmacs: 4.46, params: 28.7M}}\n"
    )
    rows = {each.row.name: each for each in compare_rows(loads(text))}
    first = rows["a"].row.ref["top1"]
    assert first and (first.text, first.value) == ("82.10", 82.1)
    assert rows["a"].row.ref["params"] is None
    assert {name: each.differs for name, each in rows.items()} == {
        "a": (),
        "b": (),
        "c": ("macs",),
        "d": (),
        "e": ("params",),
    }


def test_a_row_names_the_convention_it_is_counted_in() -> None:
    text = (
        "spec: 1\nname: t\nextends: std/vit_tiny_patch16_224\ntable:\n"
        "  convention: conv_linear\n  rows:\n    a: {}\n    b: {convention: macs}\n"
    )
    a, b = compare_rows(loads(text))
    assert a.costs.macs < b.costs.macs == loads(text).network().graph.macs
    heads, first, *_ = draw(row_table(loads(text)), "csv").splitlines()
    assert heads == "row,counted as,MACs,params,activations"
    assert first.startswith("a,conv_linear,")


def test_a_row_to_skip_is_checked_but_not_printed() -> None:
    spec = table("  rows:\n    wide: {set: {w: 32}, skip: true}\n    large: {set: {k: 5}}\n")
    assert [each.row.name for each in compare_rows(spec)] == ["large"]
    assert [row["name"] for row in row_facts(spec)["rows"]] == ["large"]
    assert same(spec.row("large"), ("w", "32"), ("k", "5"))
    with pytest.raises(SpecError):
        table("  rows:\n    wide: {set: {k: 4}, skip: true}\n")


def test_columns_are_those_that_are_listed_or_else_used() -> None:
    rows = "  rows:\n    a: {ref: {top1: 1, macs: null}}\n    b: {set: {w: 8}, ref: {loss: 2}}\n"
    used, listed = table(rows).table, table(f"  columns: [loss, macs, top1]\n{rows}").table
    assert used and used.columns == ("top1", "macs", "loss")
    assert listed and listed.columns == ("loss", "macs", "top1")


def test_a_spec_without_a_table_has_no_rows_to_show() -> None:
    with pytest.raises(SpecError, match="has no table"):
        compare_rows(loads(HEAD))


# --- warnings ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "warned"),
    [
        ("w: 16", True),
        ("defaults.conv.kernel: 3", True),
        ("w: 17", False),
        ("train.lr: 0.001", False),  # named, though it is the default
        ("classes: 10", True),
    ],
)
def test_a_row_that_changes_nothing_is_warned_of(change: str, warned: bool) -> None:
    spec = table(f"  rows:\n    plain: {{}}\n    row: {{set: {{{change}}}}}\n")
    assert [each.code for each in spec.warnings if "row" in each.message] == ["W301"] * warned


def test_a_variable_that_trains_otherwise_counts() -> None:
    spec = loads(
        f"{HEAD.replace('k: 3}', 'k: 3, lr: 0.01}')}train: {{lr: $lr}}\n"
        "table:\n  rows:\n    slow: {set: {lr: 0.001}}\n"
    )
    assert spec.warnings == ()


def test_the_names_of_rows_are_read_without_checking_them() -> None:
    spec = table(f"{MATRIX}    exclude: [{{width: w8, kernel: k5}}]\n")
    assert set(spec.rows) <= set(row_names(spec.origin.tree))


def test_a_tolerance_is_a_share_or_a_number_in_the_unit_of_its_column() -> None:
    text = (
        "spec: 1\nname: t\nextends: std/resnet50\n"
        "table: {inherit: base, rows: {a: {ref: {macs: 4.10G, gmacs: 4.2, params: 25.5M}}}}\n"
    )
    for tolerance, wanted in (
        ("", ("macs", "gmacs", "params")),
        ("evaluate: {tolerance: {macs: 1%, gmacs: 0.2}}\n", ("params",)),
        ("evaluate: {tolerance: {macs: 0.1%, gmacs: 0.01, params: 0.5%}}\n", ("macs", "gmacs")),
    ):
        (row,) = compare_rows(loads(text + tolerance))
        assert row.differs == wanted


def test_what_is_expected_may_be_off_by_its_tolerance() -> None:
    text = "spec: 1\nname: t\nextends: std/resnet50\nexpect: {macs: 4.2G, out: [1000]"
    assert loads(f"{text}, tolerance: 3%}}\n").network().classes == 1000
    for tolerance in ("", ", tolerance: 2%"):
        with pytest.raises(SpecError) as caught:
            loads(f"{text}{tolerance}}}\n")
        assert [fault.code for fault in caught.value.faults] == ["E310"]
