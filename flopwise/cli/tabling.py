"""The verb that compares tables of networks with what their papers print. No torch."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

from flopwise.cli.options import add_code, add_out, read_spec, write_out

if TYPE_CHECKING:  # types only: a verb imports the rooms it needs
    from flopwise.design.tables import PaperTable
    from flopwise.report.tables import Style

__all__ = ["table_options", "table_verb"]

FORMS = {
    "markdown": "Markdown",
    "latex": "LaTeX",
    "csv": "CSV, exact numbers",
    "html": "HTML",
}


def table_options(verb: argparse.ArgumentParser) -> None:
    """Adds the arguments of `table`."""
    text = "a shipped table, or a YAML file with a table; without one the shipped ones are listed"
    which = verb.add_mutually_exclusive_group()
    which.add_argument("table", metavar="TABLE", nargs="?", help=text)
    which.add_argument("--all", action="store_true", help="every shipped table, and the scoreboard")
    form = verb.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print one JSON object")
    for word, text in FORMS.items():
        form.add_argument(
            f"--{word}", dest="form", action="store_const", const=word, help=f"print {text}"
        )
    add_code(verb)
    add_out(verb)
    verb.set_defaults(sets=[])


def table_verb(args: argparse.Namespace) -> None:
    """Counts the rows of a table and compares them with the figures of its paper.

    Every row is counted in the conventions that are named beside it. A figure is
    compared at the precision it is printed with. One that differs is explained
    (another row shows why; that is checked), unresolved (what was tried is said)
    or open (nobody looked). Rows without a network in the vocabulary are printed
    only and not compared. Costs are arithmetic; torch is not imported.

    Examples:
      flopwise table
      flopwise table convnext_table10
      flopwise table my_table.yaml --latex -o my_table.tex
      flopwise table --all --json
    """
    from flopwise.design.tables import all_facts, all_text, titles

    style: Style = args.form or ("terminal" if sys.stdout.isatty() and not args.out else "plain")
    if not (args.table or args.all):
        write_out(titles(), args.out)
        return
    tables = _tables(args)
    if args.json:
        facts = all_facts(tables) if args.all else tables[0].facts()
        write_out(json.dumps(facts, indent=2) + "\n", args.out)
        return
    write_out(all_text(tables, style) if args.all else tables[0].text(style), args.out)


def _tables(args: argparse.Namespace) -> list[PaperTable]:
    from flopwise.design.tables import shipped_tables

    return shipped_tables() if args.all else [read_spec(args.table, args).table()]
