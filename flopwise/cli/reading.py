"""The verbs that only read: check, show, draw and the like. No torch."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from flopwise.cli.options import (
    add_out,
    add_set,
    add_spec,
    open_spec,
    plain_faults,
    read_spec,
    tell,
    write_out,
)
from flopwise.errors import render

if TYPE_CHECKING:  # types only: a verb imports the rooms it needs
    from flopwise.design import Design
    from flopwise.design.checking import Checked, Report

__all__ = [
    "check_options",
    "check_verb",
    "draw_options",
    "draw_verb",
    "resolve_options",
    "resolve_verb",
    "schema_options",
    "schema_verb",
    "show_options",
    "show_verb",
]


def check_options(verb: argparse.ArgumentParser) -> None:
    """Adds the arguments of `check`."""
    text = "YAML files, folders, - for standard input, or shipped std/NAMEs"
    verb.add_argument("specs", metavar="SPEC", nargs="+", help=text)
    add_set(verb)
    text = "run no Python file named by 'use'; the blocks in it are then unknown"
    verb.add_argument("--no-code", action="store_true", help=text)
    verb.add_argument("--json", action="store_true", help="print one JSON object")


def check_verb(args: argparse.Namespace) -> int:
    """Reads specs and shows every fault at once.

    Each fault comes with its place and a fix. Of a folder, every .yaml and .yml
    file below it that has the key 'spec' is checked. Nothing is built or trained,
    and torch is not imported.

    Of a spec with a search it also says what a winner is shipped as: native, which
    stock timm builds from JSON; carrier, the same in a class of timm's with layers
    that do nothing; or standalone, which brings one file of Python. A space of up to
    1024 networks is looked at as a whole; of a larger one every value alone, corners
    and draws. The values that cost the better form are named, and pairs where only
    both together do.

    `--errors json` prints a list with one object per fault: code, message, file,
    line, column, end_column, label, help, note, also (further places). Lines and
    columns count from 1.

    Examples:
      flopwise check net.yaml
      flopwise check nets/ examples/ --errors short
      flopwise check std/resnet50 --set net.stage2.depth=6
      cat net.yaml | flopwise check - --errors json
    """
    from flopwise.design.checking import check_each

    many = len(args.specs) > 1 or Path(args.specs[0]).is_dir()
    quiet = args.json or args.errors == "json"
    report = check_each(
        args.specs,
        lambda path, root: read_spec(path, args, root),
        lambda spec: None if quiet else _say_checked(spec, many, args),
    )
    if args.json:
        print(json.dumps(_plain(report, many), indent=2))
    elif quiet:
        print(render([f for spec in report.specs for f in spec.faults], "json"))
    elif many:
        print(report)
    return 0 if report.ok else 2


def _say_checked(spec: Checked, many: bool, args: argparse.Namespace) -> None:
    tell(spec.faults, args)
    if spec.design is None:
        return
    from flopwise.report import describe

    name = spec.file if many else spec.design.name
    print(f"{name}: {describe(spec.design.network.graph)}", flush=True)
    if spec.design.spec.search:
        print(spec.design.tiers(), flush=True)


def _plain(report: Report, many: bool) -> dict[str, object]:
    """Returns a report as plain data; of a single spec only what is said about it."""
    specs = [
        {
            "file": spec.file,
            "ok": spec.design is not None,
            "faults": plain_faults(spec.faults),
            **(spec.design.tiers().as_dict() if spec.design else {}),
        }
        for spec in report.specs
    ]
    if not many:
        return {key: value for key, value in specs[0].items() if key != "file"}
    return {"ok": report.ok, "specs": specs, "skipped": report.skipped}


def show_options(verb: argparse.ArgumentParser) -> None:
    """Adds the arguments of `show`."""
    add_spec(verb)
    verb.add_argument(
        "--style",
        choices=("stages", "paper"),
        default="stages",
        help="all numbers of each stage, or the columns of a paper with the values of a search",
    )
    verb.add_argument(
        "--rows",
        action="store_true",
        help="the rows of the spec's table, one a line, beside their reference figures",
    )
    form = verb.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print one JSON object")
    for word, text in (("markdown", "Markdown"), ("latex", "LaTeX"), ("csv", "CSV, exact numbers")):
        form.add_argument(
            f"--{word}", dest="form", action="store_const", const=word, help=f"print {text}"
        )


def show_verb(args: argparse.Namespace) -> None:
    """Prints the table of stages: shapes, MACs, parameters and activations.

    Costs are arithmetic for one image at the spec's input size; torch is not
    imported. In the style of a paper, a number that a search may change is
    written as its values, {3,5,7} or 48..128/8. With --rows, each network of the
    spec's table is counted and stands beside the figures of its source; the last
    column names those that differ at the precision they are written with.

    Examples:
      flopwise show std/resnet50
      flopwise show std/convnext_tiny --set k=9 --set net.stage3.depth=12
      flopwise show net.yaml --json
      flopwise show examples/quickstart.yaml --style paper --latex > table.tex
      flopwise show examples/tables/convnext_kernels.yaml --rows
      flopwise show examples/tables/convnext_kernels.yaml#k11
    """
    design = open_spec(args)
    if args.rows:
        _show_rows(design, args)
        return
    if args.json:
        print(json.dumps(design.facts(), indent=2))
        return
    from flopwise.report import describe, quantity
    from flopwise.report.stages import paper_table, stage_table
    from flopwise.report.terminal import show_table

    cost = design.cost()
    table = paper_table(design.spec) if args.style == "paper" else stage_table(cost)
    if args.form:
        show_table(table, args.form)
        return
    size = " x ".join(map(str, design.spec.input.size))
    print(f"{design.name}: input {design.spec.input.channels} x {size}, hash {design.hash[:16]}\n")
    show_table(table)
    print(f"\n{describe(cost)}")
    print(f"{quantity(cost.peak_memory)}B of activations held at once (inference, float32)")


def _show_rows(design: Design, args: argparse.Namespace) -> None:
    from flopwise.report.rows import row_facts, row_table
    from flopwise.report.terminal import show_table

    if args.json:
        print(json.dumps(row_facts(design.spec), indent=2))
        return
    table, rows = row_table(design.spec), design.spec.table
    if args.form or rows is None:
        show_table(table, args.form)
        return
    title = ": ".join(filter(None, (rows.title or design.name, rows.source)))
    print(f"{title}\n")
    show_table(table)
    if "counted as" not in table.heads:
        print(f"\nMACs are counted as '{next(iter(rows.rows.values())).convention}'")


def resolve_options(verb: argparse.ArgumentParser) -> None:
    """Adds the arguments of `resolve`."""
    add_spec(verb)
    add_out(verb)


def resolve_verb(args: argparse.Namespace) -> None:
    """Prints the spec with nothing left to work out.

    No parents, variables, defaults or expressions; every stage says what it
    reads, and every setting is written. It is the same network with the same
    hash, and resolving it again changes nothing.

    Examples:
      flopwise resolve std/resnet101
      flopwise resolve net.yaml --set w=48 -o narrow.yaml
    """
    write_out(open_spec(args).render(), args.out)


def draw_options(verb: argparse.ArgumentParser) -> None:
    """Adds the arguments of `draw`."""
    add_spec(verb)
    verb.add_argument("--mermaid", action="store_true", help="Mermaid text instead of an SVG")
    add_out(verb)


def draw_verb(args: argparse.Namespace) -> None:
    """Draws the stages as a picture: an SVG for a slide, or Mermaid text.

    A box is a stage: what it repeats and puts out, and a bar for its share of
    the multiply-accumulates. Arrows say what it reads.

    Examples:
      flopwise draw std/resnet50 -o resnet50.svg
      flopwise draw net.yaml --mermaid
    """
    design = open_spec(args)
    write_out(design.mermaid() if args.mermaid else design.svg(), args.out)


def schema_options(verb: argparse.ArgumentParser) -> None:
    """Adds the arguments of `schema`."""
    text = "know this spec's own blocks too: a YAML file, - or a shipped std/NAME"
    verb.add_argument("spec", metavar="SPEC", nargs="?", help=text)
    add_set(verb)
    add_out(verb)


def schema_verb(args: argparse.Namespace) -> None:
    """Prints the JSON Schema (draft-07) of the language, for editors.

    With it an editor completes keys and words, shows their help, and underlines
    what does not fit. Write it to a file, and let the first line of a spec name
    that file; VS Code's YAML extension and every editor with the
    yaml-language-server read this line:

      # yaml-language-server: $schema=./flopwise.schema.json

    Examples:
      flopwise schema -o flopwise.schema.json
      flopwise schema net.yaml -o net.schema.json
    """
    from flopwise.dsl.schema import make_schema

    made = open_spec(args).schema() if args.spec else make_schema()
    write_out(json.dumps(made, indent=2) + "\n", args.out)
