"""The verbs about a study that runs or ran: worker, status, report, scores, replay."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from flopwise.cli.options import count

__all__ = [
    "replay_options",
    "replay_verb",
    "report_options",
    "report_verb",
    "scores_options",
    "scores_verb",
    "status_options",
    "status_verb",
    "worker_options",
    "worker_verb",
]

STORAGE = "FLOPWISE_STORAGE"
"""Where a search tells its workers the URL of the store, password included."""


def worker_verb(args: argparse.Namespace) -> None:
    """Helps with a search that runs, here or elsewhere; leaves when all is done.

    Any number may. STUDY is the folder of the search, which all workers share, or
    the URL of its database. A worker that is killed gives its trial back, and
    another continues it from its last epoch.

    Examples:
      flopwise worker runs/quickstart
      flopwise worker postgresql://me@db/flopwise#quickstart
    """
    from flopwise.design.sharing import join
    from flopwise.search.live import watch_for

    if args.parent or "SLURM_JOB_ID" in os.environ:  # who started it asks it to leave by SIGINT,
        signal.signal(signal.SIGINT, signal.default_int_handler)  # which some shells ignore
    storage = os.environ.get(STORAGE, "")
    join(
        args.study,
        args.out,
        watch=partial(watch_for, sys.stdout),
        command=args.command,
        storage=storage,
        parent=args.parent,
        processes=args.gpus,
    )


def status_verb(args: argparse.Namespace) -> None:
    """Tells how a search is going: best so far, workers, failures, time left.

    Examples:
      flopwise status runs/quickstart
      flopwise status postgresql://me@db/flopwise#quickstart --json
    """
    from flopwise.search.status import find, status
    from flopwise.search.view import status_lines

    facts = status(find(args.study))
    print(json.dumps(facts, indent=2) if args.json else "\n".join(status_lines(facts)))


def report_verb(args: argparse.Namespace) -> None:
    """Writes the page of a search: charts, the last step, the winner, every trial.

    One HTML file that needs no network. The search may still run; at its end it
    writes the page itself.

    Examples:
      flopwise report runs/quickstart
      flopwise report postgresql://me@db/flopwise#quickstart -o page.html
    """
    from flopwise.design import report

    print(f"wrote {report(args.study, args.out)}")


def scores_verb(args: argparse.Namespace) -> None:
    """Tells how well scores without training rank the trained networks of a search.

    All of them lie inside its budget. MACs, params, activations and depth are the plain
    baselines and always shown; an interval that holds 0 says nothing. Images are noise.

    Examples:
      flopwise scores runs/quickstart
      flopwise scores runs/quickstart --score naswot --score synflow --json
    """
    from flopwise.design.scoring import study_scores
    from flopwise.dsl.tables import SCORES

    found = study_scores(args.study, args.score or SCORES)
    if args.json:
        print(json.dumps([asdict(each) for each in found], indent=2))
        return
    from rich.console import Console

    from flopwise.search.tables import agreement_table

    Console(width=None if sys.stdout.isatty() else 100).print(agreement_table(found))


def replay_verb(args: argparse.Namespace) -> int:
    """Trains a trial of a search again and compares what comes out, digit by digit.

    The network and its recipe are those on record; the spec may have changed or be
    gone. On the same machine, with the same versions, the result is the same.

    Examples:
      flopwise replay runs/quickstart 4
      flopwise replay postgresql://me@db/flopwise#quickstart 4 --out again
    """
    from flopwise.design.sharing import replay

    found = replay(args.study, args.trial, args.out, on_note=_say)
    print(f"trial {args.trial} then: {_scores(found.then)}")
    print(f"trial {args.trial} now:  {_scores(found.now)}")
    print("the same, to the last digit" if found.same else "not the same")
    if found.weights is not None:
        print(f"weights: {'the same bytes' if found.weights else 'other bytes'}")
    for name, (then, now) in found.changes.items():
        print(f"changed since: {name} was {then}, is {now}")
    return 0 if found.same else 1


def worker_options(verb: argparse.ArgumentParser) -> None:
    """Adds the arguments of `worker`."""
    _add_study(verb)
    text = "where this machine sees the study's folder, if elsewhere than the search does"
    verb.add_argument("--out", metavar="DIR", type=Path, help=text)
    text = "GPUs that share each training, by torchrun (default: as the search says)"
    verb.add_argument("--gpus-per-trial", metavar="N", dest="gpus", type=count, help=text)
    verb.add_argument("--parent", type=int, default=0, help=argparse.SUPPRESS)


def status_options(verb: argparse.ArgumentParser) -> None:
    """Adds the arguments of `status`."""
    _add_study(verb)
    verb.add_argument("--json", action="store_true", help="print it as JSON")


def report_options(verb: argparse.ArgumentParser) -> None:
    """Adds the arguments of `report`."""
    _add_study(verb)
    text = "where to write (default: report.html in the study's folder)"
    verb.add_argument("-o", "--out", metavar="FILE", type=Path, help=text)


def scores_options(verb: argparse.ArgumentParser) -> None:
    """Adds the arguments of `scores`."""
    from flopwise.dsl.tables import SCORES

    _add_study(verb)
    text = f"one of {', '.join(SCORES)}; repeatable, all if left out"
    verb.add_argument("--score", metavar="NAME", choices=SCORES, action="append", help=text)
    verb.add_argument("--json", action="store_true", help="print it as JSON")


def replay_options(verb: argparse.ArgumentParser) -> None:
    """Adds the arguments of `replay`."""
    _add_study(verb)
    verb.add_argument("trial", metavar="TRIAL", type=int, help="its number")
    text = "where the new training goes (default: replays/TRIAL in the study's folder)"
    verb.add_argument("--out", metavar="DIR", type=Path, help=text)


def _add_study(verb: argparse.ArgumentParser) -> None:
    text = "the folder of a search, or the URL of its database (URL#NAME if it has several)"
    verb.add_argument("study", metavar="STUDY", help=text)


def _say(line: str) -> None:
    print(line, flush=True)


def _scores(scores: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value!r}" for name, value in scores.items())
