"""The verbs that write specs: fmt, upgrade, init. No torch."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from flopwise.cli.options import add_code, read_spec, tell
from flopwise.errors import SpecError, nearest

__all__ = [
    "fmt_options",
    "fmt_verb",
    "init_options",
    "init_verb",
    "upgrade_options",
    "upgrade_verb",
]


def fmt_options(verb: argparse.ArgumentParser) -> None:
    """Adds the arguments of `fmt`."""
    text = "YAML files, folders, or - for standard input"
    verb.add_argument("files", metavar="FILE", nargs="+", help=text)
    _check(verb)


def fmt_verb(args: argparse.Namespace) -> int:
    """Gives specs the canonical layout; comments and meaning stay.

    Two spaces of indentation, top-level keys in the order of the language with
    one blank line between sections, one line per stage where it fits into 100
    columns. With --check nothing is written, and the exit code is 1 if a file
    has another layout.

    Examples:
      flopwise fmt net.yaml
      flopwise fmt nets/ --check
      flopwise fmt - < net.yaml
    """
    from flopwise.design.rewriting import format_file

    if args.files == ["-"]:
        from flopwise.dsl.format import format_text
        from flopwise.dsl.load import decode

        text = decode(sys.stdin.buffer.read(), "<stdin>")
        new = format_text(text, "<stdin>")
        print("" if args.check else new, end="")
        return 1 if args.check and new != text else 0

    def lay_out(path: Path) -> str:
        words = "has another layout" if args.check else "laid out anew"
        return f"{path}: {words}" if format_file(path, check=args.check) else ""

    return _each(args, lay_out)


def upgrade_options(verb: argparse.ArgumentParser) -> None:
    """Adds the arguments of `upgrade`."""
    verb.add_argument("files", metavar="FILE", nargs="+", help="YAML files or folders")
    _check(verb)
    add_code(verb)
    verb.set_defaults(sets=[])


def upgrade_verb(args: argparse.Namespace) -> int:
    """Rewrites specs in the newest version of the language.

    A file is replaced only if costs, hash and checkpoint keys of its networks are
    the same before and after; comments stay. With --check nothing is written, and
    the exit code is 1 if a file is in an older version.

    Examples:
      flopwise upgrade net.yaml
      flopwise upgrade nets/ --check
    """
    from flopwise.design.rewriting import upgrade_file

    def upgrade(path: Path) -> str:
        done = upgrade_file(path, check=args.check, read=lambda name: read_spec(name, args))
        if not done.changed:
            print(f"{path}: is in the newest version already")
            return ""
        words = "would be upgraded" if args.check else "upgraded"
        return "\n  ".join([f"{path}: {words} from version {done.version}", *done.proof])

    return _each(args, upgrade)


def init_options(verb: argparse.ArgumentParser) -> None:
    """Adds the arguments of `init`."""
    verb.add_argument(
        "starter", metavar="STARTER", type=_starter, help="cnn, vit, hybrid, search or table"
    )
    text = "the file to write (default: STARTER.yaml); - for standard output"
    verb.add_argument("-o", "--out", metavar="FILE", help=text)


def init_verb(args: argparse.Namespace) -> None:
    """Writes a commented spec to begin with: cnn, vit, hybrid, search or table.

    Every line says why it is there. A file that exists is not overwritten.

    Examples:
      flopwise init cnn
      flopwise init search -o my_search.yaml
    """
    from flopwise.design.rewriting import starter, write_starter

    if args.out == "-":
        print(starter(args.starter), end="")
        return
    path = Path(args.out or f"{args.starter}.yaml")
    write_starter(args.starter, path)
    print(f"wrote {path}; look at it:  flopwise show {path}")


def _check(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--check", action="store_true", help="only look, and write nothing")


def _each(args: argparse.Namespace, work: Callable[[Path], str]) -> int:
    """Does something to every file, however many of them have faults."""
    from flopwise.design.rewriting import files_of

    changed = broken = total = 0
    for path in _some(args.files, files_of(args.files)):
        total += 1
        try:
            said = work(path)
        except SpecError as error:
            broken += 1
            tell(error.faults, args)
            continue
        if said:
            changed += 1
            print(said, flush=True)
    words = "would change" if args.check else "changed"
    faults = f", {broken} with faults" if broken else ""
    print(f"{total} file{'' if total == 1 else 's'}: {changed} {words}{faults}")
    return 2 if broken else int(args.check and changed > 0)


def _some(names: Iterable[str], files: Iterable[Path]) -> list[Path]:
    found = list(files)
    if not found:
        from flopwise.design.checking import no_spec

        raise SpecError([no_spec(", ".join(names), 0)])
    return found


def _starter(text: str) -> str:
    from flopwise.design.rewriting import STARTERS

    if text not in STARTERS:
        near = nearest(text, STARTERS)
        meant = f"did you mean '{near}'? " if near else ""
        known = "; ".join(f"{name}: {what}" for name, what in STARTERS.items())
        raise argparse.ArgumentTypeError(f"there is no starter '{text}'. {meant}{known}")
    return text
