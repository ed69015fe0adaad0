"""The verb that looks at a space. No torch."""

from __future__ import annotations

import argparse
import json
import sys

from flopwise.cli.options import add_spec, open_spec

__all__ = ["space_options", "space_verb"]


def space_options(verb: argparse.ArgumentParser) -> None:
    """Adds the arguments of `space`."""
    add_spec(verb)
    verb.add_argument("--json", action="store_true", help="print one JSON object per budget")


def space_verb(args: argparse.Namespace) -> None:
    """Tells how large a space is and how much of it meets the budget.

    The costs of all candidates are worked out once, as tables with an entry for
    every choice of a stage; a candidate's cost is a sum of entries. From these
    come the number of candidates, how many of them are feasible (exactly where
    they can be listed or counted, else between sure bounds and as an estimate),
    the smallest and largest costs, how often each value is met among the
    feasible, and how fast candidates are costed and drawn on this machine.
    Nothing is built or trained, and torch is not imported. Tables that took
    long are kept in $XDG_CACHE_HOME/flopwise/tables (or ~/.cache/...).

    With --json: `size` (null: endless), `feasible_share`, `feasible` (bounds,
    estimate, error), `ranges`, `marginals`, `rates`, `tier`, and more.

    Examples:
      flopwise space examples/quickstart.yaml
      flopwise space examples/networks/per_layer.yaml
      flopwise space net.yaml --set search.budget.macs.target=600M --json
    """
    from flopwise.report.waiting import waiting

    design = open_spec(args)
    with waiting(sys.stderr, "cost tables") as tell:
        found = design.space(tell)
    if args.json:
        plain = [each.as_dict() for each in found]
        print(json.dumps(plain[0] if len(plain) == 1 else plain, indent=2))
        return
    from flopwise.report.spaces import show_spaces

    show_spaces(found)
