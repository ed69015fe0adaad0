"""Tables of papers: verdicts, checked reasons, rows without a network, and every form of output."""

from __future__ import annotations

import csv
import io
import json
from html.parser import HTMLParser
from pathlib import Path

import pandas
import pytest

import flopwise
from flopwise.cli import main
from flopwise.cost import CONVENTIONS, PARAM_CONVENTIONS, cost
from flopwise.design.tables import judge
from flopwise.dsl import Spec, load, loads
from flopwise.dsl.shipped import papers, presets, shipped_rows
from flopwise.errors import SpecError
from flopwise.report.tables import Table, draw

HEAD = """\
spec: 1
name: net
input: {size: 32, channels: 3}
classes: 10
vars: {w: 16}
net:
  stem: {block: conv, dim: $w, stride: 2}
  head: {block: classifier, pool: avg}
"""
MACS = 16 * 16 * 16 * 27 + 160  # 110752
WIDE = 32 * 16 * 16 * 27 + 320


def table(rows: str, *, more: str = "") -> Spec:
    lines = "".join(f"    {line}\n" for line in rows.splitlines())
    return loads(f"{HEAD}table:\n  inherit: base\n{more}  rows:\n{lines}")


def verdicts(rows: str) -> list[dict[str, str]]:
    return [dict(each.verdicts) for each in judge(table(rows)).paper.rows]


def refused(rows: str) -> str:
    with pytest.raises(SpecError) as caught:
        judge(table(rows))
    assert {fault.code for fault in caught.value.faults} == {"E419"}
    return str(caught.value)


def test_a_figure_is_reproduced_or_open_at_its_own_precision() -> None:
    assert verdicts("a: {ref: {macs: 111K}}\nb: {ref: {macs: 110.7K, params: 1M, top1: 3}}") == [
        {"macs": "reproduced"},
        {"macs": "open", "params": "open"},
    ]


def test_a_figure_that_is_printed_elsewhere_is_explained() -> None:
    rows = "a: {ref: {macs: 100K}, explained: {macs: {why: a slip, printed: b}}}\n"
    assert verdicts(f"{rows}b: {{ref: {{macs: 111K}}}}")[0] == {"macs": "explained"}
    assert "which is not what 'a' counts" in refused(f"{rows}b: {{ref: {{macs: 112K}}}}")
    assert "no figure 'macs' of a row 'b'" in refused(f"{rows}b: {{ref: {{params: 1M}}}}")


def test_a_figure_that_is_counted_elsewhere_is_explained() -> None:
    rows = f"a: {{ref: {{macs: {WIDE}}}, explained: {{macs: {{why: a slip, counted: b}}}}}}\n"
    assert verdicts(f"{rows}b: {{set: {{w: 32}}}}")[0] == {"macs": "explained"}
    assert "which is not what 'a' prints" in refused(f"{rows}b: {{set: {{w: 24}}}}")


def test_a_reason_may_stand_in_another_table() -> None:
    where = "std/convnext_table10#resnet50"
    why = f"explained: {{macs: {{why: a slip, printed: {where}}}}}"
    rows = f"a: {{spec: std/resnet50, ref: {{macs: 4.1001G}}, {why}}}"
    assert verdicts(rows) == [{"macs": "explained"}]
    assert "no figure" in refused(rows.replace("#resnet50", "#resnet51"))


def test_a_reason_for_what_is_counted_is_refused() -> None:
    said = refused("a: {ref: {macs: 111K}, unresolved: {macs: no cause found}}")
    assert "which is what is counted" in said
    assert "delete the reason" in said


def test_unresolved_figures_say_what_was_tried() -> None:
    spec = table("a: {ref: {macs: 100K}, unresolved: {macs: 'counted 111'}}")
    assert judge(spec).paper.rows[0].verdicts == {"macs": "unresolved"}
    assert "a, macs unresolved: counted 111" in judge(spec).text()


def test_a_row_with_printed_figures_only_is_no_network() -> None:
    spec = table("a: {}\nb: {ref: {macs: 1M}, skip: true}\nc: {set: {w: 32}, skip: true}")
    assert spec.rows == ("a", "c")
    with pytest.raises(SpecError, match="no row called 'b'"):
        spec.row("b")
    assert [each.row.name for each in judge(spec).paper.rows] == ["a", "b"]
    assert "printed only" in judge(spec).text()
    assert judge(spec).score.compared == 0


def test_the_row_below_printed_figures_starts_from_the_network_above() -> None:
    rows = "    a: {set: {w: 32}}\n    b: {ref: {macs: 1M}, skip: true}\n    c: {}\n"
    spec = loads(f"{HEAD}table:\n  rows:\n{rows}")
    assert spec.row("c").network().hash == spec.row("a").network().hash


def test_conventions_of_parameters() -> None:
    vit, t2t = (load(f"std/{name}").network().graph for name in ("vit_s16", "t2t_vit_14"))
    count = {name: rule(vit) for name, rule in PARAM_CONVENTIONS.items()}
    assert count["learned"] - count["without_position"] == 197 * 768
    assert count["learned"] - count["without_head"] == 769 * 1000
    assert count["with_buffers"] == count["learned"]
    fixed = 197 * 384 + 2 * 32 * 64
    assert PARAM_CONVENTIONS["with_buffers"](t2t) - t2t.params == fixed
    resnet = load("std/resnet18").network().graph
    assert PARAM_CONVENTIONS["with_buffers"](resnet) - resnet.params == 2 * 4800


def test_conventions_of_a_row_are_its_own() -> None:
    rows = "a: {convention: thop, ref: {macs: 111K}}\nb: {params_convention: without_head}"
    first, second = judge(table(rows)).paper.rows
    assert first.counts["macs"] == MACS
    assert second.counts["params"] == first.counts["params"] - 170


@pytest.mark.parametrize(("name", "thop"), [("t2t_vit_14", 4.3474), ("t2t_vit_24", 12.7003)])
def test_thop_is_counted_as_the_tool_does(name: str, thop: float) -> None:
    graph = load(f"std/{name}").network().graph
    assert "thop" in CONVENTIONS
    assert cost(graph, convention="thop").macs / 1e9 == pytest.approx(thop, abs=1e-4)


def test_rows_of_papers_are_named_with_their_table() -> None:
    assert not set(papers()) & set(presets())
    assert not {file for file, _ in shipped_rows()} & set(papers())
    assert flopwise.load("std/convnext_table10#patchify").name == "patchify"
    assert flopwise.load("convnext_table10#patchify").name == "patchify"
    with pytest.raises(SpecError, match="no shipped spec 'std/patchify'"):
        load("std/patchify")
    with pytest.raises(SpecError, match="did you mean 'std/convnext_table10'"):
        load("std/convnext_tabel10")


# --- what is printed -----------------------------------------------------------------------------


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["table", *words]) == 0
    return capsys.readouterr().out


def test_the_tables_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(capsys).splitlines()
    assert [line.split()[0] for line in lines] == list(papers())
    assert "From ResNet-50 to ConvNeXt-T" in printed(capsys)


def test_a_table_names_its_conventions_and_reasons(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, "convnext_table10")
    assert "MACs as" in text and "conv_linear" in text
    assert "layer_norm, macs explained: A norm costs no multiply-adds" in text
    assert text.endswith(
        "18 figures compared = 15 reproduced + 3 explained + 0 unresolved + 0 open\n"
    )


def test_csv_has_exact_counts(capsys: pytest.CaptureFixture[str]) -> None:
    rows = list(csv.DictReader(io.StringIO(printed(capsys, "convnext_table10", "--csv"))))
    assert len(rows) == 18
    assert rows[0]["MACs"] == "4089184256"
    assert rows[-2]["macs in paper"] == "4.49G"
    several = list(csv.DictReader(io.StringIO(printed(capsys, "--all", "--csv"))))
    assert [row["row"] for row in several if row["table"] == "convnext_table10"] == [
        row["row"] for row in rows
    ]


class Cells(HTMLParser):
    """Collects the rows of a table."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data.strip()


def test_html_has_a_cell_for_every_cell(capsys: pytest.CaptureFixture[str]) -> None:
    parser = Cells()
    parser.feed(printed(capsys, "convnext_table2", "--html"))
    assert len(parser.rows) == 7
    assert {len(row) for row in parser.rows} == {len(parser.rows[0])}
    assert parser.rows[1][:3] == ["vit_s", "macs", "4.599G"]


def test_html_escapes_words_and_marks_the_total() -> None:
    text = draw(Table(heads=("a<b", "n"), rows=(("x&y", 1),), total=("all", 2)), "html")
    assert "a&lt;b" in text and "x&amp;y" in text
    assert "<tfoot><tr><td>all</td>" in text


def test_markdown_and_latex(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    text = printed(capsys, "t2t_table1", "--markdown")
    assert text.startswith("### t2t_table1: ")
    assert "\n- vit_s16, macs unresolved: " in text
    out = tmp_path / "table.tex"
    printed(capsys, "t2t_table1", "--latex", "-o", str(out))
    lines = out.read_text().splitlines()
    assert r"\begin{tabular}{lllrrrrr" in "".join(lines)
    begin, end = (lines.index(next(x for x in lines if w in x)) for w in ("begin{", "end{"))
    assert all(line.startswith("%") or not line for line in lines[:begin] + lines[end + 1 :])


def test_a_file_and_its_json(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "net.yaml"
    path.write_text(f"{HEAD}table: {{rows: {{a: {{ref: {{macs: 1M}}}}}}}}\n")
    facts = json.loads(printed(capsys, str(path), "--json"))
    assert (facts["compared"], facts["open"]) == (1, 1)
    assert facts["rows"][0]["macs"] == MACS
    assert facts["rows"][0]["verdicts"] == {"macs": "open"}
    assert "a, macs open: nobody has looked at it" in printed(capsys, str(path))
    path.write_text(HEAD)
    assert main(["table", str(path)]) == 2
    assert "'net' has no table" in capsys.readouterr().err


def test_a_frame_has_exact_counts_and_figures_as_numbers() -> None:
    frame = flopwise.table("convnext_table10").frame()
    assert isinstance(frame, pandas.DataFrame)
    assert frame.loc["resnet50", "macs"] == 4_089_184_256
    assert frame.loc["separate", "macs_in_paper"] == 4.49e9
    assert frame.loc["separate", "macs_verdict"] == "explained"
    assert frame.loc["separate", "top1_in_paper"] == 81.97
    shown = flopwise.table("t2t_table6").frame()
    assert pandas.isna(shown.loc["alexnet", "macs"])
    assert shown["macs"].dtype == "Int64"


@pytest.mark.parametrize("name", papers())
def test_every_row_of_a_paper_can_be_scaled_to_small_images(name: str) -> None:
    spec = load(f"std/{name}")
    for row in spec.rows:
        same = spec.row(row).set([("input.size", "32")])
        scaled = same.set([("small", "4")])
        assert scaled.network().graph.macs > 2 * same.network().graph.macs  # it sees more places
