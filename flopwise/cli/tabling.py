"""The verb that compares tables of networks with what their papers print. No torch."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from flopwise.cli.options import add_out, add_set, count, read_spec, short_for, write_out
from flopwise.errors import RunError

if TYPE_CHECKING:  # types only: a verb imports the rooms it needs
    from flopwise.design.tables import PaperTable
    from flopwise.report.tables import Style
    from flopwise.search.crew import Crew

__all__ = ["add_crew", "add_forms", "crew_of", "said", "table_options", "table_verb"]

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
    add_forms(verb)
    add_set(verb)
    text = "train the rows on these images: digits, a folder, a tar, torch/NAME or hfds/NAME"
    verb.add_argument("--train", metavar="DATA", help=text)
    text = "with --train, where all files go (default: runs/NAME)"
    verb.add_argument("--folder", metavar="DIR", type=Path, help=text)
    text = "with --train, trainings of each row (default: 3)"
    verb.add_argument("--seeds", metavar="N", type=count, default=3, help=text)
    short_for(verb, "--epochs", "train.epochs", "with --train, passes over the training images")
    text = "with --train, scale the stem or the patches of every row to images of 32 or 64 pixels"
    verb.add_argument("--small", type=int, choices=(32, 64), default=0, help=text)
    text = "with --train, only these rows, separated by commas"
    verb.add_argument(
        "--rows", metavar="NAMES", type=lambda text: text.split(","), default=[], help=text
    )
    add_crew(verb)


def add_crew(verb: argparse.ArgumentParser) -> None:
    """Adds `--workers N` and `--gpus N`, and what its workers are told."""
    text = "with --train, processes that share the work, one per GPU if there are any (default: 1)"
    verb.add_argument("--workers", metavar="N", type=count, default=1, help=text)
    text = "with --train, GPUs that share each training, by torchrun (default: 1)"
    verb.add_argument("--gpus", metavar="N", type=count, default=1, help=text)
    verb.add_argument("--parent", type=int, default=0, help=argparse.SUPPRESS)


@contextmanager
def crew_of(args: argparse.Namespace, folder: Path) -> Iterator[Crew | None]:
    """Gives the workers that the command line asks for; None where this process does the work.

    A worker is a process of the same command line, and leaves with the one that started it.
    """
    from flopwise.search.crew import Crew, dealt, idle, serve, visible_gpus

    if args.parent:
        serve(args.parent)
        yield None
        return
    if args.workers == 1:
        if told := idle(visible_gpus(), args.gpus):
            said(told)
        yield None
        return
    words = tuple(shlex.split(args.command)[1:])
    if "-" in words:
        raise RunError("workers cannot read standard input too: write the spec to a file")
    gpus = dealt(visible_gpus(), args.gpus)
    with Crew(folder, args.workers, devices=gpus, told=said, words=words) as crew:
        yield crew


def said(line: str) -> None:
    """Prints a line for people, beside what is printed for programs."""
    print(line, file=sys.stderr, flush=True)


def add_forms(verb: argparse.ArgumentParser) -> None:
    """Adds the forms a table is printed in, and `-o FILE`."""
    form = verb.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print one JSON object")
    for word, text in FORMS.items():
        form.add_argument(
            f"--{word}", dest="form", action="store_const", const=word, help=f"print {text}"
        )
    add_out(verb)


def table_verb(args: argparse.Namespace) -> None:
    """Counts the rows of a table and compares them with the figures of its paper.

    Every row is counted in the conventions that are named beside it. A figure is
    compared at the precision it is printed with. One that differs is explained
    (another row shows why; that is checked), unresolved (what was tried is said)
    or open (nobody looked). Rows without a network in the vocabulary are printed
    only and not compared. Costs are arithmetic; torch is not imported.

    With --train every row is trained with several seeds, on what --set lays on
    it, and judged once by its last epoch on the test split. Each finished
    training is a line of DIR/results.jsonl, and the same command goes on from
    there; several may run at once, as --workers does on one machine.

    Examples:
      flopwise table
      flopwise table convnext_table10
      flopwise table my_table.yaml --latex -o my_table.tex
      flopwise table --all --json
      flopwise table my_table.yaml --train photos/ --seeds 3 --epochs 50
      flopwise table convnext_table10 --train photos/ --small 32 --set wide=0.25
      flopwise table convnext_table10 --train photos/ --workers 8
    """
    from flopwise.design.tables import all_facts, all_text, titles

    style: Style = args.form or ("terminal" if sys.stdout.isatty() and not args.out else "plain")
    if not (args.table or args.all):
        write_out(titles(), args.out)
        return
    if args.train:
        _train(args, style)
        return
    if args.sets or args.small or args.workers > 1 or args.gpus > 1:
        raise RunError(
            "--set, --small, --epochs, --workers and --gpus are for rows that are trained: name "
            "images, as in  --train digits"
        )
    tables = _tables(args)
    if args.json:
        facts = all_facts(tables) if args.all else tables[0].facts()
        write_out(json.dumps(facts, indent=2) + "\n", args.out)
        return
    write_out(all_text(tables, style) if args.all else tables[0].text(style), args.out)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]


def _train(args: argparse.Namespace, style: Style) -> None:
    if args.all or not args.table:
        raise RunError("name the one table that --train is to train")
    sets, args.sets = args.sets, []
    table = read_spec(args.table, args).table()
    folder = args.folder or Path("runs") / table.name
    with crew_of(args, folder) as crew:
        found = table.train(
            args.train,
            folder,
            seeds=args.seeds,
            rows=args.rows,
            small=args.small,
            sets=sets,
            told=said,
            command=args.command,
            crew=crew,
            processes=args.gpus,
        )
    if args.parent:  # who started this worker prints the table
        return
    text = json.dumps(found.facts(), indent=2) + "\n" if args.json else found.text(style)
    write_out(text, args.out)


def _tables(args: argparse.Namespace) -> list[PaperTable]:
    from flopwise.design.tables import shipped_tables

    return shipped_tables() if args.all else [read_spec(args.table, args).table()]
