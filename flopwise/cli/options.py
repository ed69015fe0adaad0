"""Arguments that several verbs share, and what is done with them."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from flopwise.errors import Fault, SpecError, render

if TYPE_CHECKING:  # types only: a verb imports the rooms it needs
    from flopwise.design import Design

__all__ = [
    "add_code",
    "add_out",
    "add_set",
    "add_spec",
    "count",
    "open_spec",
    "plain_faults",
    "read_spec",
    "short_for",
    "tell",
    "write_out",
]


def add_spec(verb: argparse.ArgumentParser) -> None:
    """Adds SPEC and `--set`."""
    text = "a YAML file, - for standard input, or a shipped std/NAME"
    verb.add_argument("spec", metavar="SPEC", help=text)
    add_set(verb)


def add_set(verb: argparse.ArgumentParser) -> None:
    """Adds `--set PATH=VALUE`."""
    verb.add_argument(
        "--set",
        metavar="PATH=VALUE",
        dest="sets",
        action="append",
        default=[],
        type=_assignment,
        help="change the spec: a variable (w=48) or a place (net.stage2.depth=6); repeatable",
    )
    add_code(verb)


def short_for(verb: argparse.ArgumentParser, flag: str, path: str, text: str) -> None:
    """Adds a flag that is a shorter way to write `--set path=value`."""
    verb.add_argument(
        flag,
        metavar=flag.strip("-").upper(),
        dest="sets",
        action="append",
        type=lambda value: (path, value),
        help=f"{text} (--set {path}=...)",
    )


def add_code(verb: argparse.ArgumentParser) -> None:
    """Adds `--allow-code` and `--root`."""
    text = "let Python files named by 'use' run, now and until they change"
    verb.add_argument("--allow-code", action="store_true", help=text)
    text = "the folder that a spec's own files may not leave (default: where the spec lies)"
    verb.add_argument("--root", metavar="DIR", type=Path, help=text)


def add_out(verb: argparse.ArgumentParser) -> None:
    """Adds `-o FILE`."""
    text = "write to a file instead of standard output"
    verb.add_argument("-o", "--out", metavar="FILE", type=Path, help=text)


def write_out(text: str, out: Path | None) -> None:
    """Prints a text, or writes it to a file and says so."""
    if out is None:
        print(text, end="")
        return
    from flopwise.design.writing import write_text

    write_text(out, text)
    print(f"wrote {out}")


def count(text: str) -> int:
    """Reads a whole number from 1 on."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"write a whole number from 1 on, not {text!r}")
    return int(text)


def open_spec(args: argparse.Namespace) -> Design:
    """Returns the design that SPEC names; its warnings are shown."""
    design = read_spec(args.spec, args)
    if not args.json:
        tell(design.spec.warnings, args)
    return design


def read_spec(path: str, args: argparse.Namespace, root: Path | None = None) -> Design:
    """Returns the design at a path, or on standard input, with the sets of the command line.

    Someone at a terminal is asked once about code that nobody has allowed to run. `root` is the
    folder that the spec's files may not leave, where the command line names no other.
    """
    from flopwise.design import load, loads

    code = None if getattr(args, "no_code", False) else args.allow_code
    if path == "-":
        text = sys.stdin.buffer.read()
        return loads(text, dict(args.sets), name="<stdin>", allow_code=code)
    try:
        return load(path, dict(args.sets), root=args.root or root, allow_code=code)
    except SpecError as error:
        if not _consents(error, args):
            raise
    return load(path, dict(args.sets), root=args.root or root, allow_code=True)


def _consents(error: SpecError, args: argparse.Namespace) -> bool:
    """Asks whether code may run, if that is all that is missing and somebody is there."""
    here = sys.stdin.isatty() and sys.stderr.isatty()
    if not here or {fault.code for fault in error.faults} != {"E114"}:
        return False
    tell(error.faults, args)
    print("run it, now and until it changes? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def tell(faults: Iterable[Fault], args: argparse.Namespace) -> None:
    """Shows faults where people and editors look for them."""
    faults = tuple(faults)
    if faults:
        print(render(faults, args.errors), file=sys.stderr)


def plain_faults(faults: Iterable[Fault]) -> list[dict[str, object]]:
    """Returns faults as plain data."""
    found: list[dict[str, object]] = json.loads(render(faults, "json"))
    return found


def _assignment(text: str) -> tuple[str, str]:
    path, equals, value = text.partition("=")
    if not (path.strip() and equals):
        raise argparse.ArgumentTypeError(f"write PATH=VALUE, such as w=48, not {text!r}")
    return path.strip(), value
