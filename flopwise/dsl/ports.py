"""`from: {main: left, skip: right}`: the inputs of a stage by the ports of its block."""

from __future__ import annotations

from flopwise.blocks import Block
from flopwise.dsl.plan import StagePlan
from flopwise.errors import Fault, SpecError, nearest

__all__ = ["by_port"]


def by_port(plan: StagePlan, block: Block, inputs: tuple[str, ...]) -> tuple[str, ...]:
    """Returns the inputs of a stage that names their ports, in the order of the block's ports."""
    faults = []
    known = [port for port in block.ports if not port.startswith("*")]
    for port, place in plan.ports or ():
        if port not in known:
            near = nearest(port, known)
            helps = [f"did you mean '{near}'?"] if near else []
            helps += [] if known else ["write a list, as in  from: [a, b]"]
            fact = f"block '{block.name}' has no port '{port}'"
            note = f"ports of {block.name}: {', '.join(known)}" if known else "its inputs are alike"
            told = Fault(code="E117", message=fact, place=place, helps=tuple(helps), notes=(note,))
            faults.append(told)
            if not known:
                break  # it takes a list: one port is as wrong as the other
    given = dict(zip((port for port, _ in plan.ports or ()), inputs, strict=True))
    missing = [port for port in known if port not in given]
    if missing and not faults:
        fact = f"port '{missing[0]}' of block '{block.name}' gets nothing in stage '{plan.name}'"
        full = ", ".join(f"{port}: {given.get(port, 'STAGE')}" for port in known)
        help_ = f"write  from: {{{full}}}"
        faults.append(Fault(code="E117", message=fact, place=plan.place, helps=(help_,)))
    if faults:
        raise SpecError(faults)
    return tuple(given[port] for port in known)
