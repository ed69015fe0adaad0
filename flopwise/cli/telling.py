"""The verbs that tell why and how: explain and diff. No torch."""

from __future__ import annotations

import argparse
import json
import re

from flopwise.cli.options import add_set, open_spec, read_spec
from flopwise.errors import SpecError

__all__ = ["diff_options", "diff_verb", "explain_options", "explain_verb"]

CODE = re.compile(r"[EW]\d+", re.IGNORECASE)


def explain_options(verb: argparse.ArgumentParser) -> None:
    """Adds the arguments of `explain`."""
    verb.add_argument("spec", metavar="SPEC", help="a spec as for show, or the code of a fault")
    text = "a variable (w), a place (net.stage2.dim), or a stage (net.stage2)"
    verb.add_argument("path", metavar="PATH", nargs="?", help=text)
    add_set(verb)
    verb.add_argument("--json", action="store_true", help="print one JSON object")


def explain_verb(args: argparse.Namespace) -> None:
    """Tells where a value comes from, or what a fault means.

    Every place that set the value is listed in order, with file, line and column:
    through the specs it extends, the rows of a table, and --set. Then come the
    defaults that would have held, and the variables it was computed from. With
    the code of a fault instead, its page is printed.

    Examples:
      flopwise explain std/convnext_tiny net.stage2.dim
      flopwise explain examples/tables/convnext_kernels.yaml#k11 k --json
      flopwise explain std/resnet50 net.layer3 --set net.layer3.depth=23
      flopwise explain E303
    """
    if args.path is None and CODE.fullmatch(args.spec):
        from flopwise.report.pages import page

        print(page(args.spec))
        return
    design = open_spec(args)
    if args.path is None:
        from flopwise.dsl.explained import no_path

        raise SpecError([no_path(design.spec)])
    found = design.explain(args.path)
    if args.json:
        print(json.dumps([each.as_dict() for each in found], indent=2))
    else:
        print("\n\n".join(map(str, found)))


def diff_options(verb: argparse.ArgumentParser) -> None:
    """Adds the arguments of `diff`."""
    for name, text in (("A", "a spec as for show"), ("B", "another")):
        verb.add_argument(name.lower(), metavar=name, help=text)
    add_set(verb)
    verb.add_argument("--json", action="store_true", help="print one JSON object")


def diff_verb(args: argparse.Namespace) -> None:
    """Shows what changes from one network to another.

    Both are resolved first, so what counts is what they are and not how they are
    written: stages that come or go, settings with their old and new values, costs,
    and the recipe. --set changes both. The exit code is 0 also where they differ.

    Examples:
      flopwise diff std/resnet50 std/resnet101
      flopwise diff std/convnext_tiny examples/tables/convnext_kernels.yaml#k11
      flopwise diff old.yaml new.yaml --json
    """
    one, other = (read_spec(path, args) for path in (args.a, args.b))
    found = one.diff(other)
    if args.json:
        print(json.dumps(found.as_dict(), indent=2))
        return
    from flopwise.report.differences import describe_comparison

    print(describe_comparison(found))
