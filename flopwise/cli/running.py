"""The verbs that take time: build, train, search, import, verify."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from flopwise.cli.exporting import write_export
from flopwise.cli.options import add_spec, count, open_spec, short_for

if TYPE_CHECKING:  # types only: the room imports torch
    from flopwise.export import Recheck
    from flopwise.train import Epoch

__all__ = [
    "build_options",
    "build_verb",
    "import_options",
    "import_verb",
    "search_options",
    "search_verb",
    "train_options",
    "train_verb",
    "verify_options",
    "verify_verb",
]


def build_verb(args: argparse.Namespace) -> None:
    """Builds the PyTorch module and prints it, or prints its source.

    Examples:
      flopwise build std/vit_tiny_patch16_224
      flopwise build net.yaml --code > model.py
    """
    design = open_spec(args)
    print(design.source() if args.code else design.build())


def train_verb(args: argparse.Namespace) -> None:
    """Trains the network as it is written; the same command again resumes.

    Every epoch is saved. All choices look at a validation split; the test split
    is opened once, after the last epoch. Files go to runs/NAME-train unless --out
    says otherwise.

    Examples:
      flopwise train std/resnet18 --data photos/ --epochs 50
      flopwise train net.yaml --set train.lr=0.002 --out runs/second
      flopwise train net.yaml --gpus 4
      flopwise train wider.yaml --from runs/second
    """
    winner = open_spec(args).train(
        args.out,
        start=args.start,
        on_epoch=_say_epoch,
        on_note=_say,
        command=args.command,
        processes=args.gpus,
    )
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
    design = open_spec(args)
    from rich.console import Console

    from flopwise.search.live import watch_for
    from flopwise.search.view import show

    metric = design.spec.search.objective[1] if design.spec.search else "top1"
    watch = watch_for(sys.stdout, metric)
    outcome = design.search(
        args.out,
        trials=args.trials,
        start=args.start,
        watch=watch,
        command=args.command,
        workers=args.workers,
        slurm=args.slurm,
        storage=args.storage,
        allow_code=args.allow_code,
        processes=args.gpus,
    )
    show(outcome, Console(width=None if sys.stdout.isatty() else 100), metric)
    for part in outcome.parts or (outcome,):
        if part.winner and part.winner.weights:
            write_export(part.folder, part.folder / "export", command=args.command)
        else:
            print(f"nothing was trained, so there is nothing to export from {part.folder}")
    from flopwise.design import report

    print(f"look at it: {report(outcome.folder)}")


def import_verb(args: argparse.Namespace) -> None:
    """Writes a timm model as a spec: a registered one by its name, or an exported folder.

    Every module of timm's model is read; what the vocabulary lacks is refused by
    its name. The spec has the same parameters and checkpoint keys, and up to 100
    million parameters the same outputs, compared with drawn weights; with --prove
    always. Weights in a file are written beside the spec, for train --from.

    Examples:
      flopwise import timm:resnet50 -o resnet50.yaml
      flopwise import timm:convnext_tiny.fb_in1k -o net.yaml --weights model.safetensors
      flopwise import local-dir:digits-net -o net.yaml
    """
    from flopwise.design import import_timm
    from flopwise.design.importing import weights_beside

    file = None if args.out == "-" else Path(args.out)
    prove = True if args.prove else None
    done = import_timm(args.model, file, weights=args.weights, classes=args.classes, prove=prove)
    if file is None:
        print(done.text, end="")
        return
    same = "outputs not compared (--prove does)"
    if done.difference is not None:
        same = f"outputs differ by {done.difference:.1g}"
    print(f"wrote {file}: {done.keys} checkpoint keys map to timm's and back, {same}")
    for note in done.notes:
        print(f"note: {note}")
    if done.weights is not None:
        beside = weights_beside(file)
        print(f"wrote {beside}; start from it:  flopwise train {file} --from {beside}")


def verify_verb(args: argparse.Namespace) -> None:
    """Checks an exported folder again: files, weights, logits, accuracy.

    Weights that are no safetensors are never opened. A model.py runs in a process of
    its own that cannot import flopwise, and only if it is what flopwise writes for
    the folder's spec, or was written here, or is allowed with --allow-code.

    Examples:
      flopwise verify digits-net
      flopwise verify digits-net --data photos/
    """
    from flopwise.design import verify

    found = verify(args.folder, args.data, allow_code=args.allow_code)
    print(
        f"{args.folder}: {found.tier} export of {found.architecture}, {found.tensors} tensors, "
        f"as it was proven; with timm {found.timm} the logits of its sample "
        f"differ by {found.difference:.1g}"
    )
    for file, gap in found.ways.items():
        print(f"{file}: the logits of its sample differ by {gap:.1g}")
    for file, why in found.skipped.items():
        print(f"{file}: as it was proven by its SHA-256, but not run: {why}")
    if found.images:
        print(_accuracy(found))


def build_options(verb: argparse.ArgumentParser) -> None:
    """Adds the arguments of `build`."""
    add_spec(verb)
    verb.add_argument("--code", action="store_true", help="print PyTorch source instead")


def train_options(verb: argparse.ArgumentParser) -> None:
    """Adds the arguments of `train`."""
    _training_options(verb)
    text = "GPUs that share the training, by torchrun; the batch stays the recipe's (default: 1)"
    verb.add_argument("--gpus", metavar="N", type=count, default=1, help=text)


def _training_options(verb: argparse.ArgumentParser) -> None:
    """Adds what trainings and searches share."""
    add_spec(verb)
    short_for(verb, "--data", "train.data", "digits, a folder, a tar, torch/NAME or hfds/NAME")
    short_for(verb, "--epochs", "train.epochs", "passes over the training images")
    verb.add_argument("--out", metavar="DIR", type=Path, help="where all files go")
    verb.add_argument(
        "--from",
        metavar="PLACE",
        dest="start",
        type=Path,
        help="begin with these weights as far as they fit: an exported folder, the folder of a "
        "training or search, or a safetensors file of a spec's keys",
    )


def search_options(verb: argparse.ArgumentParser) -> None:
    """Adds the arguments of `search`."""
    _training_options(verb)
    verb.add_argument(
        "--trials",
        metavar="N",
        type=count,
        help="trainings wanted in all, earlier ones included (default: search.trials)",
    )
    text = "processes that share the work, one per GPU where there are GPUs (default: 1)"
    verb.add_argument("--workers", metavar="N", type=count, default=1, help=text)
    text = "GPUs that share each training, by torchrun (default: 1)"
    verb.add_argument(
        "--gpus-per-trial", metavar="N", dest="gpus", type=count, default=1, help=text
    )
    text = "workers are jobs of Slurm: long options of sbatch, as partition=gpu,time=60,gpus=1"
    verb.add_argument("--slurm", metavar="OPTIONS", default="", help=text)
    text = "keep trials in a database, for workers on several machines: postgresql://USER@HOST/DB"
    verb.add_argument("--storage", metavar="URL", default="", help=text)


def import_options(verb: argparse.ArgumentParser) -> None:
    """Adds the arguments of `import`."""
    verb.add_argument(
        "model", metavar="MODEL", help="timm:NAME, local-dir:DIR or the path of an exported folder"
    )
    text = "the spec to write; - for standard output"
    verb.add_argument("-o", "--out", metavar="FILE", required=True, help=text)
    text = "timm's weights for the model: safetensors, or a checkpoint of plain tensors"
    verb.add_argument("--weights", metavar="FILE", type=Path, help=text)
    text = "another number of classes than timm's"
    verb.add_argument("--classes", metavar="N", type=count, help=text)
    text = "compare outputs however large the model is"
    verb.add_argument("--prove", action="store_true", help=text)


def verify_options(verb: argparse.ArgumentParser) -> None:
    """Adds the arguments of `verify`."""
    verb.add_argument("folder", metavar="DIR", type=Path, help="an exported folder")
    text = "classify test images too: digits, a folder, a tar, torch/NAME or hfds/NAME"
    verb.add_argument("--data", metavar="DATA", default="", help=text)
    text = "let code in the folder run that nobody has allowed, now and until it changes"
    verb.add_argument("--allow-code", action="store_true", help=text)


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


def _accuracy(found: Recheck) -> str:
    """Says how many images are right, and how that compares with what the exporter found."""
    share = 100 * found.correct / found.images
    told = f"{found.correct} of {found.images} test images right ({share:.2f}%)"
    right, count = found.recorded
    if found.same:
        return f"{told}, the same as when it was exported"
    if not count:
        return f"{told}; the exporter classified none"
    before = f"{right} of {count} ({100 * right / count:.2f}%)"
    return f"{told}; on the images of the exporter, which are others, it was {before}"
