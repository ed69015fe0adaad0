"""The table of verbs, the parser made of it, and how every verb ends."""

from __future__ import annotations

import argparse
import gc
import inspect
import json
import os
import shlex
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn

from flopwise import __version__
from flopwise.cli import (
    editing,
    exporting,
    options,
    reading,
    running,
    scaling,
    sharing,
    spaces,
    tabling,
    telling,
)
from flopwise.errors import FlopwiseError, RunError, SpecError

__all__ = ["VERBS", "main", "make_parser"]

ABOUT = """Vision networks as YAML tables of stages, searched inside a FLOP budget.

SPEC is a YAML file or a shipped network such as std/resnet50."""

EPILOG = """first steps:
  flopwise show std/resnet50
  flopwise search examples/quickstart.yaml

exit codes: 0 fine, 1 the run failed, 2 bad input, 130 interrupted"""

Verb = Callable[[argparse.Namespace], int | None]
Options = Callable[[argparse.ArgumentParser], None]

# name -> the function (its docstring is the help) and what adds its arguments
VERBS: dict[str, tuple[Verb, Options]] = {
    "check": (reading.check_verb, reading.check_options),
    "show": (reading.show_verb, reading.show_options),
    "draw": (reading.draw_verb, reading.draw_options),
    "space": (spaces.space_verb, spaces.space_options),
    "table": (tabling.table_verb, tabling.table_options),
    "scale": (scaling.scale_verb, scaling.scale_options),
    "explain": (telling.explain_verb, telling.explain_options),
    "diff": (telling.diff_verb, telling.diff_options),
    "resolve": (reading.resolve_verb, reading.resolve_options),
    "schema": (reading.schema_verb, reading.schema_options),
    "fmt": (editing.fmt_verb, editing.fmt_options),
    "upgrade": (editing.upgrade_verb, editing.upgrade_options),
    "init": (editing.init_verb, editing.init_options),
    "build": (running.build_verb, running.build_options),
    "train": (running.train_verb, running.train_options),
    "search": (running.search_verb, running.search_options),
    "worker": (sharing.worker_verb, sharing.worker_options),
    "status": (sharing.status_verb, sharing.status_options),
    "report": (sharing.report_verb, sharing.report_options),
    "scores": (sharing.scores_verb, sharing.scores_options),
    "replay": (sharing.replay_verb, sharing.replay_options),
    "export": (exporting.export_verb, exporting.export_options),
    "import": (running.import_verb, running.import_options),
    "verify": (running.verify_verb, running.verify_options),
}
RESUMED = ("train", "search", "table", "scale", "worker")
"""Verbs whose command, given again, goes on where it was stopped."""
BRIEF = ("check", "show")
"""Verbs that end at once: looking for garbage takes a tenth of their time and finds little."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one verb and returns the exit code; no mistake of a user ends in a traceback."""
    # Threads that wait by spinning make small trainings crawl when the cores are shared (5x).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    words = sys.argv[1:] if arguments is None else list(arguments)
    args = make_parser(words[:1] if words[:1] and words[0] in VERBS else VERBS).parse_args(words)
    asked = words[: words.index("--parent")] if "--parent" in words else words  # by a person
    args.command = f"flopwise {shlex.join(asked)}"
    if args.verb in BRIEF:
        gc.disable()
    try:
        code = args.run(args)
        sys.stdout.flush()
    except FlopwiseError as error:
        _complain(error, args)
        return 1 if isinstance(error, RunError) else 2
    except KeyboardInterrupt:
        again = f"; go on with: {args.command}" if args.verb in RESUMED else ""
        print(f"\ninterrupted{again}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader has seen enough, as in `flopwise show ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # a full disk, a folder that may not be written
        print(f"error: {error}", file=sys.stderr)
        return 1
    finally:
        gc.enable()
    return code or 0


def make_parser(names: Iterable[str] = VERBS) -> argparse.ArgumentParser:
    """Returns the parser of the whole command line, or of some of its verbs."""
    parser = _Parser(prog="flopwise", description=ABOUT, epilog=EPILOG, formatter_class=_Formatter)
    parser.add_argument("--version", action="version", version=f"flopwise {__version__}")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", dest="verb", required=True)
    for name in names:
        run, add = VERBS[name]
        text, _, examples = inspect.cleandoc(run.__doc__ or "").partition("\n\nExamples:")
        verb = verbs.add_parser(
            name,
            help=text.splitlines()[0],
            description=text,
            epilog=f"examples:{examples}",
            formatter_class=_Formatter,
        )
        verb.set_defaults(run=run, json=False)
        add(verb)
        verb.add_argument(
            "--errors",
            choices=("long", "short", "json"),
            default="long",
            help="faults with excerpts (long), one line each (short), or as a list of objects",
        )
    return parser


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Keeps the line breaks of the texts above."""


class _Parser(argparse.ArgumentParser):
    """Tells a mistaken verb or option in one line, with the nearest that exists."""

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        found, rest = self.parse_known_args(args, namespace)
        if rest:
            verbs: Any = next(a for a in self._actions if a.dest == "verb")
            _refuse(verbs.choices[found.verb], rest[0])
        return found

    def _check_value(self, action: argparse.Action, value: object) -> None:
        if action.dest == "verb" and value not in (action.choices or ()):
            from flopwise.errors import nearest

            near = nearest(str(value), VERBS)
            meant = f"; did you mean '{near}'?" if near else ""
            self.error(f"there is no verb '{value}'{meant} (verbs: {', '.join(VERBS)})")
        super()._check_value(action, value)


def _refuse(verb: argparse.ArgumentParser, word: str) -> NoReturn:
    """Ends with what is wrong with a word that a verb does not take."""
    if not word.startswith("-"):
        more = "; write --set before each change" if "=" in word else ""
        verb.error(f"'{word}' is one argument too many{more}")
    from flopwise.errors import nearest

    options = [each for action in verb._actions for each in action.option_strings]
    near = nearest(word.partition("=")[0], options)
    meant = f"; did you mean '{near}'?" if near else f"; see {verb.prog} --help"
    verb.error(f"there is no option '{word}'{meant}")


def _complain(error: FlopwiseError, args: argparse.Namespace) -> None:
    if not isinstance(error, SpecError):
        print(f"error: {error}", file=sys.stderr)
    elif args.json:
        faults = options.plain_faults(error.faults)
        print(json.dumps({"ok": False, "faults": faults}, indent=2))
    else:
        options.tell(error.faults, args)
