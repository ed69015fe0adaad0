"""The command line: one thin function per verb over `flopwise.design`.

A verb's docstring is its help. Nothing heavy is imported before a verb needs it.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from flopwise import __version__
from flopwise.design import Design, export, load
from flopwise.errors import FlopwiseError, RunError, SpecError, render

if TYPE_CHECKING:  # types only: the room imports torch
    from flopwise.train import Epoch

__all__ = [
    "build_verb",
    "check_verb",
    "export_verb",
    "main",
    "make_parser",
    "search_verb",
    "show_verb",
    "train_verb",
]

ABOUT = """Vision networks as YAML tables of stages, searched inside a FLOP budget.

SPEC is a YAML file or a shipped network such as std/resnet50."""

EPILOG = """first steps:
  flopwise show std/resnet50
  flopwise search examples/quickstart.yaml

exit codes: 0 fine, 1 the run failed, 2 bad input, 130 interrupted"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one verb and returns the exit code; no mistake of a user ends in a traceback."""
    # Threads that wait by spinning make small trainings crawl when the cores are shared (5x).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    words = sys.argv[1:] if arguments is None else list(arguments)
    args = make_parser().parse_args(words)
    args.command = f"flopwise {shlex.join(words)}"
    try:
        args.run(args)
        sys.stdout.flush()
    except FlopwiseError as error:
        _complain(error, args)
        return 1 if isinstance(error, RunError) else 2
    except KeyboardInterrupt:
        again = f"; go on with: {args.command}" if args.resumes else ""
        print(f"\ninterrupted{again}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader has seen enough, as in `flopwise show ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:  # a full disk, a folder that may not be written
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the whole command line."""
    parser = argparse.ArgumentParser(
        prog="flopwise", description=ABOUT, epilog=EPILOG, formatter_class=_Formatter
    )
    parser.add_argument("--version", action="version", version=f"flopwise {__version__}")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    for name, (run, options) in _VERBS.items():
        text, _, examples = inspect.cleandoc(run.__doc__ or "").partition("\n\nExamples:")
        verb = verbs.add_parser(
            name,
            help=text.splitlines()[0],
            description=text,
            epilog=f"examples:{examples}",
            formatter_class=_Formatter,
        )
        verb.set_defaults(run=run, json=False, resumes=run in (train_verb, search_verb))
        options(verb)
        verb.add_argument(
            "--errors",
            choices=("long", "short"),
            default="long",
            help="faults with excerpts (long) or one line each (short)",
        )
    return parser


def check_verb(args: argparse.Namespace) -> None:
    """Reads a spec and shows every fault at once.

    Each fault comes with its place and a fix. Nothing is built or trained, and
    torch is not imported.

    Examples:
      flopwise check net.yaml
      flopwise check net.yaml --errors short
      flopwise check std/resnet50 --set net.stage2.depth=6
    """
    design = _open(args)
    if args.json:
        warnings = json.loads(render(design.spec.warnings, "json"))
        print(json.dumps({"ok": True, "faults": warnings}, indent=2))
        return
    from flopwise.report import describe

    print(f"{design.name}: {describe(design.cost())}")


def show_verb(args: argparse.Namespace) -> None:
    """Prints the table of stages: shapes, MACs, parameters and activations.

    Costs are arithmetic for one image at the spec's input size; torch is not
    imported.

    Examples:
      flopwise show std/resnet50
      flopwise show std/convnext_tiny --set k=9 --set net.stage3.depth=12
      flopwise show net.yaml --json
    """
    design = _open(args)
    if args.json:
        print(json.dumps(design.facts(), indent=2))
        return
    from flopwise.report import show_cost

    size = " x ".join(map(str, design.spec.input.size))
    print(f"{design.name}: input {design.spec.input.channels} x {size}, hash {design.hash[:16]}\n")
    show_cost(design.cost())


def build_verb(args: argparse.Namespace) -> None:
    """Builds the PyTorch module and prints it, or prints its source.

    Examples:
      flopwise build std/vit_tiny_patch16_224
      flopwise build net.yaml --code > model.py
    """
    design = _open(args)
    print(design.source() if args.code else design.build())


def train_verb(args: argparse.Namespace) -> None:
    """Trains the network as it is written; the same command again resumes.

    Every epoch is saved. All choices look at a validation split; the test split
    is opened once, after the last epoch. Files go to runs/NAME-train unless --out
    says otherwise.

    Examples:
      flopwise train std/resnet18 --data photos/ --epochs 50
      flopwise train net.yaml --set train.lr=0.002 --out runs/second
    """
    winner = _open(args).train(args.out, on_epoch=_say_epoch, on_note=_say, command=args.command)
    print(f"best epoch, validation: {_scores(winner.validation)} ({winner.kind} weights)")
    print(f"test, opened once: {_scores(winner.test)}")
    print(f"weights: {winner.weights}")


def search_verb(args: argparse.Namespace) -> None:
    """Searches the spec's space inside its budget; the same command again resumes.

    Only networks inside the budget are trained, each once. The best are trained
    again on fresh seeds beside the written network and scored on the test split,
    and the winner is exported to DIR/export. Files go to runs/NAME unless --out
    says otherwise.

    Examples:
      flopwise search examples/quickstart.yaml
      flopwise search net.yaml --trials 50 --data photos/
    """
    design = _open(args)
    from rich.console import Console

    from flopwise.export import NotNativeError
    from flopwise.search.view import show, watch_for

    metric = design.spec.search.objective[1] if design.spec.search else "top1"
    watch = watch_for(sys.stdout, metric)
    outcome = design.search(args.out, trials=args.trials, watch=watch, command=args.command)
    show(outcome, Console(width=None if sys.stdout.isatty() else 100), metric)
    try:
        _export(outcome.folder, outcome.folder / "export")
    except NotNativeError as error:  # the search is fine; its winner stays in our own form
        print(f"not exported: {error}")


def export_verb(args: argparse.Namespace) -> None:
    """Writes a trained network as a folder that stock timm loads, with proof.

    The proof runs in a process that imports only timm: same logits, same accuracy.

    Examples:
      flopwise export runs/quickstart --out digits-net
      flopwise export runs/quickstart --trial 12 --out other-net
    """
    _export(args.study, args.out, args.trial)


def _spec(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("spec", metavar="SPEC", help="a YAML file, or a shipped std/NAME")
    verb.add_argument(
        "--set",
        metavar="PATH=VALUE",
        dest="sets",
        action="append",
        default=[],
        type=_assignment,
        help="change the spec: a variable (w=48) or a place (net.stage2.depth=6); repeatable",
    )


def _spec_json(verb: argparse.ArgumentParser) -> None:
    _spec(verb)
    verb.add_argument("--json", action="store_true", help="print one JSON object")


def _spec_code(verb: argparse.ArgumentParser) -> None:
    _spec(verb)
    verb.add_argument("--code", action="store_true", help="print PyTorch source instead")


def _spec_run(verb: argparse.ArgumentParser) -> None:
    _spec(verb)
    _short_for(verb, "--data", "train.data", "digits, a folder, a tar, torch/NAME or hfds/NAME")
    _short_for(verb, "--epochs", "train.epochs", "passes over the training images")
    verb.add_argument("--out", metavar="DIR", type=Path, help="where all files go")


def _spec_search(verb: argparse.ArgumentParser) -> None:
    _spec_run(verb)
    verb.add_argument(
        "--trials",
        metavar="N",
        type=_count,
        help="trainings wanted in all, earlier ones included (default: search.trials)",
    )


def _short_for(verb: argparse.ArgumentParser, flag: str, path: str, text: str) -> None:
    """Adds a flag that is a shorter way to write `--set path=value`."""
    verb.add_argument(
        flag,
        metavar=flag.strip("-").upper(),
        dest="sets",
        action="append",
        type=lambda value: (path, value),
        help=f"{text} (--set {path}=...)",
    )


def _study(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "study", metavar="STUDY", type=Path, help="the folder of a search or training"
    )
    verb.add_argument("--out", metavar="DIR", type=Path, required=True, help="the folder to write")
    verb.add_argument("--trial", metavar="N", type=int, help="another trial than the winner")


_VERBS: dict[
    str,
    tuple[Callable[[argparse.Namespace], None], Callable[[argparse.ArgumentParser], None]],
] = {
    "check": (check_verb, _spec_json),
    "show": (show_verb, _spec_json),
    "build": (build_verb, _spec_code),
    "train": (train_verb, _spec_run),
    "search": (search_verb, _spec_search),
    "export": (export_verb, _study),
}


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Keeps the line breaks of the texts above."""


def _assignment(text: str) -> tuple[str, str]:
    path, equals, value = text.partition("=")
    if not (path.strip() and equals):
        raise argparse.ArgumentTypeError(f"write PATH=VALUE, such as w=48, not {text!r}")
    return path.strip(), value


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"write a whole number from 1 on, not {text!r}")
    return int(text)


def _open(args: argparse.Namespace) -> Design:
    design = load(args.spec, dict(args.sets))
    if design.spec.warnings and not args.json:
        print(render(design.spec.warnings, args.errors), file=sys.stderr)
    return design


def _complain(error: FlopwiseError, args: argparse.Namespace) -> None:
    if isinstance(error, SpecError) and args.json:
        faults = json.loads(render(error.faults, "json"))
        print(json.dumps({"ok": False, "faults": faults}, indent=2))
    elif isinstance(error, SpecError):
        print(render(error.faults, args.errors), file=sys.stderr)
    else:
        print(f"error: {error}", file=sys.stderr)


def _say(line: str) -> None:
    print(line, flush=True)


def _say_epoch(epoch: Epoch) -> None:
    _say(
        f"epoch {epoch.epoch}/{epoch.epochs}: training loss {epoch.train_loss:.3f}, validation "
        f"{_scores({'top1': epoch.top1, 'balanced': epoch.balanced, 'loss': epoch.loss})} "
        f"({epoch.weights} weights), {epoch.images_per_second:,.0f} images/s, "
        f"{epoch.outside_share:.0%} of CPU time outside the network"
    )


def _scores(scores: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.2f}" for name, value in scores.items())


def _export(study: Path, folder: Path, trial: int | None = None) -> None:
    proof = export(study, folder, trial=trial)
    told = f"{proof.correct} of {proof.images} test images right, as here" if proof.images else ""
    print(
        f"exported to {folder}, proven with timm {proof.timm}: "
        f"logits differ by {proof.difference:.1g}{told and '; ' + told}"
    )
    print(f"load it: timm.create_model('local-dir:{folder}', pretrained=True)")
