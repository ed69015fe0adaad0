"""The verb that draws loss against training compute."""

from __future__ import annotations

import argparse
import json
import sys
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from flopwise.cli.options import add_set, count, read_spec, write_out
from flopwise.cli.tabling import add_crew, add_forms, crew_of, said
from flopwise.errors import RunError

if TYPE_CHECKING:  # types only: a verb imports the rooms it needs
    from flopwise.design.scaled import Scaled
    from flopwise.report.tables import Style

__all__ = ["scale_options", "scale_verb"]

T = TypeVar("T")


def scale_options(verb: argparse.ArgumentParser) -> None:
    """Adds the arguments of `scale`."""
    text = "a YAML file or a shipped name; the models are its table's rows, if it has a table"
    verb.add_argument("spec", metavar="SPEC", nargs="?", help=text)
    text = "train them on these images: digits, a folder, a tar, torch/NAME or hfds/NAME"
    verb.add_argument("--train", metavar="DATA", help=text)
    text = "epoch budgets, separated by commas (default: the spec's)"
    verb.add_argument("--epochs", metavar="LIST", type=_counts, default=[], help=text)
    text = "learning rates, each tried for every model and budget (default: the spec's)"
    verb.add_argument("--lr", metavar="LIST", type=_rates, default=[], help=text)
    text = "train a model for every value, in every combination; repeatable"
    verb.add_argument(
        "--vary", metavar="PATH=LIST", action="append", type=_varied, default=[], help=text
    )
    text = "trainings of each model, budget and rate (default: 3)"
    verb.add_argument("--seeds", metavar="N", type=count, default=3, help=text)
    text = "only these rows of the table, separated by commas"
    verb.add_argument("--rows", metavar="NAMES", type=lambda t: t.split(","), default=[], help=text)
    text = "train nothing; read compute and loss, and what else is known, from a CSV"
    verb.add_argument("--from", metavar="FILE", dest="given", type=Path, help=text)
    text = "where all files go (default: runs/NAME-scale)"
    verb.add_argument("--folder", metavar="DIR", type=Path, help=text)
    add_crew(verb)
    add_forms(verb)
    add_set(verb)


def scale_verb(args: argparse.Namespace) -> None:
    """Trains a family of networks and draws their loss against training compute.

    The family is every row of a table, or the spec, with every combination of
    what --vary names; each is trained for every epoch budget, with a schedule as
    long as the budget. A line is fitted, on log-log axes, through the optimal
    trainings: those that neither another model's curve at their compute nor a
    cheaper training beats. With its 95 % band come the optimal size and epochs for
    a compute and, with --lr, the best learning rate for an epoch budget.

    Compute is 3 x the multiply-adds of a forward pass (forward and backward) x
    the images seen. All is chosen by the validation loss of the last epoch. Each
    finished training is a line of DIR/results.jsonl, and the same command goes on
    from there; several may run at once, as --workers does on one machine.
    DIR/page.html has the charts, DIR/points.csv every training (--from reads it),
    DIR/scaling.json the numbers.

    Examples:
      flopwise scale examples/scaling/digits.yaml --train digits --epochs 2,4,8,16
      flopwise scale net.yaml --train photos/ --vary w=16,32,64 --vary d=1,2 --epochs 1,2,4
      flopwise scale net.yaml --train photos/ --vary w=16,32 --epochs 1,4 --lr 0.001,0.002,0.004
      flopwise scale --from printed.csv
    """
    found, folder = _read(args) if args.given else _trained(args)
    if args.parent:  # who started this worker writes the files
        return
    files = list(found.write(folder))
    style: Style = args.form or ("terminal" if sys.stdout.isatty() and not args.out else "plain")
    text = json.dumps(found.facts(), indent=2) + "\n" if args.json else found.text(style)
    write_out(text, args.out)
    print(f"wrote {', '.join(map(str, files))}", file=sys.stderr)


def _read(args: argparse.Namespace) -> tuple[Scaled, Path]:
    from flopwise.design.scaled import read_family

    if args.spec or args.train or args.workers > 1 or args.gpus > 1:
        others = "SPEC, --train, --workers and --gpus"
        raise RunError(f"--from trains nothing; leave {others} out, or --from")
    found = read_family(args.given)
    return found, args.folder or Path("runs") / f"{found.name}-scale"


def _trained(args: argparse.Namespace) -> tuple[Scaled, Path]:
    from flopwise.design.scaled import train_family

    if not (args.spec and args.train):
        missing = "images, as in  --train digits" if args.spec else "a spec, or  --from FILE"
        raise RunError(f"name {missing}")
    paths = [path for path, _ in args.vary]
    if twice := next((path for path in paths if paths.count(path) > 1), ""):
        raise RunError(f"--vary names '{twice}' twice; write all its values in one list")
    sets, args.sets = args.sets, []
    spec = read_spec(args.spec, args).spec
    folder = args.folder or Path("runs") / f"{spec.name}-scale"
    with crew_of(args, folder) as crew:
        found = train_family(
            spec,
            folder,
            data=args.train,
            epochs=args.epochs,
            rates=args.lr,
            vary=dict(args.vary),
            seeds=args.seeds,
            rows=args.rows,
            sets=sets,
            told=said,
            command=args.command,
            crew=crew,
            processes=args.gpus,
        )
    return found, folder


def _counts(text: str) -> list[int]:
    return _once([count(each.strip()) for each in text.split(",")], text)


def _rates(text: str) -> list[float]:
    try:
        found = [float(each) for each in text.split(",")]
    except ValueError:
        found = []
    if not found or not all(each > 0 and isfinite(each) for each in found):
        raise argparse.ArgumentTypeError(
            f"write numbers above 0, such as 0.001,0.002, not {text!r}"
        )
    return _once(found, text)


def _once(found: list[T], text: str) -> list[T]:
    if len({*found}) < len(found):
        raise argparse.ArgumentTypeError(f"write each value once, not {text!r}")
    return found


def _varied(text: str) -> tuple[str, list[str]]:
    path, equals, values = text.partition("=")
    found = [each.strip() for each in values.split(",")]
    if not (path.strip() and equals and all(found)):
        raise argparse.ArgumentTypeError(f"write PATH=VALUES, such as w=16,32, not {text!r}")
    return path.strip(), _once(found, text)
