"""The verbs that only read: check and show. No torch."""

from __future__ import annotations

import argparse
import json

from flopwise.cli.options import open_spec, plain_faults, spec_json

__all__ = ["check_options", "check_verb", "show_verb"]


def check_options(verb: argparse.ArgumentParser) -> None:
    """Adds the arguments of `check`."""
    spec_json(verb)


def check_verb(args: argparse.Namespace) -> None:
    """Reads a spec and shows every fault at once.

    Each fault comes with its place and a fix. Nothing is built or trained, and
    torch is not imported.

    Examples:
      flopwise check net.yaml
      flopwise check net.yaml --errors short
      flopwise check std/resnet50 --set net.stage2.depth=6
    """
    design = open_spec(args)
    if args.json:
        print(json.dumps({"ok": True, "faults": plain_faults(design.spec.warnings)}, indent=2))
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
    design = open_spec(args)
    if args.json:
        print(json.dumps(design.facts(), indent=2))
        return
    from flopwise.report import show_cost

    size = " x ".join(map(str, design.spec.input.size))
    print(f"{design.name}: input {design.spec.input.channels} x {size}, hash {design.hash[:16]}\n")
    show_cost(design.cost())
