"""Hostile specs: mutated bytes and random structures, drawn from one `random.Random`.

`tests/property/test_hostile.py` runs some of them, `benchmarks/fuzz.py` as many as asked for.
"""

from __future__ import annotations

import gc
import re
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from types import FrameType

from flopwise.blocks import BLOCKS, Field
from flopwise.dsl import loads
from flopwise.dsl.functions import FUNCTIONS
from flopwise.dsl.load import decode
from flopwise.dsl.recipe import recipe_rules
from flopwise.dsl.tables import EXPECT, FINAL, INPUT, NODE, SAMPLER, SEARCH, TOP
from flopwise.errors import FlopwiseError, SpecError, render

__all__ = ["SEEDS", "grown", "mutated", "settle"]

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
SEEDS = [
    path.read_bytes()
    for folder in ("tests/golden/errors", "tests/property", "flopwise/zoo", "examples")
    for path in sorted((ROOT / folder).rglob("*.yaml"))
    if path.stat().st_size < 3000  # every row of a large table is read again in each case
]
PIECES = [
    *"{}[]:,#&*!|>'\"%@`?-$()\n\t\\ ", "\n  ", "\n    ", ": ", "- ", "$(", ")", "<<: ", "null",
    "true", "yes", "1e999", "0x10", "0777", "1:30", "-1", "-1000000000", "9" * 30, "1.5", "é",
    "\u202e", "\x00", "\ufeff", "\U0001f600", "\r", "...", "---\n", "from", "block: conv",
    "depth: ", "extends: std/resnet18\n", "after: stem", "when: $(w > 1)", "dim: 0",
    "depth: 1000000000",
    "$(" + "w*" * 60 + "w)", "$(" + "(" * 40, "[" * 70, "{a: " * 70, "&a [*a, *a]",
    "classes", "i", "net.stem", "[0]", "block: ", "vars:\n", "net:\n", "blocks:\n", "%",
    "table:\n", "search:\n",
    "\n---\n", "!!python/object/apply:os.system ['true']", "a" * 300, "0.1G", "45%", "input",
]  # fmt: skip
NUMBERS: list[float | None] = [
    0, 1, 2, 3, 4, 7, 8, 16, 64, 224, -1, -3, 0.0, 0.5, 1e-6, 1e18,
    10**9, 2**53, 2**53 + 1, 10**30, 1e308, True, False, None,
]  # fmt: skip
NAMES = ["w", "k", "d", "stem", "body", "left", "right", "join", "head", "input", "mine", "yours"]
TEXTS = ["", "yes", "no", "a b", "std/resnet18", "std/nothing", "./x.yaml", "/etc/passwd", "../up",
         "avg", "cls", "relu", "bn", "ln", "tpe", "previous", "base", "4.5G", "1%", "$", "$$",
         "${w}", "$(", "$w", "$(w)", "0777", "2026-11-20", "é", "\u0000", "\u202e",
         "x" * 400]  # fmt: skip
EXTRA_TOP = ["blocks", "use", "table", "output", "features", "strict_kinds", "evaluate", "x_note"]
EXTRA_NODE = ["when", "after", "before"]
WORDS = ["choice", "range", "step", "log", "subset", "permutation", "min", "max", "target",
         "within", "vary", "to", "params", "net", "kind", "ports", "output", "rows", "matrix",
         "exclude", "set", "ref", "inherit", "spec", "type", "default", "odd"]  # fmt: skip
KEYS = sorted(
    {*TOP, *INPUT, *NODE, *EXPECT, *SEARCH, *SAMPLER, *FINAL, *recipe_rules(), *EXTRA_TOP}
    | {*EXTRA_NODE, *WORDS, *NAMES, *BLOCKS}
)


def mutated(random: Random) -> bytes:
    """Returns a known spec with a few places cut, doubled or overwritten."""
    data = random.choice(SEEDS)
    for _ in range(random.randint(1, 5)):
        at, length = random.randrange(len(data) + 1), random.choice((0, 0, 1, 2, 6, 20))
        way = random.random()
        if way < 0.7:
            piece = random.choice(PIECES).encode()
        elif way < 0.8:
            piece = random.randbytes(random.randint(1, 4))
        else:  # a piece of another spec
            other = random.choice(SEEDS)
            start = random.randrange(len(other))
            piece = other[start : start + random.randint(1, 80)]
        data = data[:at] + piece + data[at + length :]
    return data


def grown(random: Random) -> bytes:
    """Returns a spec that follows the language, with something wild in a few places."""
    lines = ["spec: 1", "name: wild", f"input: {{size: {random.choice([16, 32, '[24, 32]'])}}}"]
    lines += ["classes: 5", "vars: {w: 16, k: 3, d: 2, s: relu}"]
    if random.random() < 0.4:
        lines.append(f"blocks: {{mine: {_composite(random)}, yours: {_composite(random)}}}")
    if random.random() < 0.3:
        lines.append(f"defaults: {{norm: bn, {random.choice([*BLOCKS])}: {{}}}}")
    lines += ["net:", *_net(random)]
    if random.random() < 0.3:
        lines.append(f"search: {_search(random)}")
    if random.random() < 0.3:
        lines.append(f"table: {{rows: {{a: {_row(random)}, b: {_row(random)}}}}}")
    if random.random() < 0.2:
        rules = {"search": SEARCH, "input": INPUT, "expect": EXPECT, "train": recipe_rules()}
        key = random.choice([*TOP, *EXTRA_TOP])
        lines.append(f"{key}: {_map(random, rules.get(key, KEYS), 3)}")
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def _wild(random: Random) -> bool:
    return random.random() < 0.06


def _net(random: Random) -> Iterator[str]:
    yield f"  stem: {{block: conv, dim: $w, kernel: {random.choice([1, 3, '$k'])}}}"
    before = ["stem"]
    for name in random.sample(NAMES[3:], random.randint(0, 4)):
        if name not in ("stem", "head", "input") or _wild(random):
            yield f"  {name}: {_node(random, before)}"
            before.append(name)
    yield "  head: {block: classifier}"


def _node(random: Random, before: list[str]) -> str:
    block = random.choice([*BLOCKS]) if random.random() < 0.8 else random.choice(["mine", "yours"])
    if _wild(random):
        block = random.choice(["$s", "nope", "$(1)", "[conv]"])
    fields = getattr(BLOCKS.get(block), "fields", {})
    entries = [
        f"{name}: {_good(random, field)}"
        for name, field in fields.items()
        if field.required or random.random() < 0.3
    ]
    if random.random() < 0.2:
        entries.append(f"depth: {random.choice([1, 2, 3, '$d', '$(d + 1)'])}")
    if random.random() < 0.3:
        ends = [*before, "input"]
        entries.append(f"from: {random.choice([*ends, f'[{random.choice(ends)}, {before[-1]}]'])}")
    if random.random() < 0.1:
        entries.append(f"when: {random.choice(['$(w > 8)', '$(w > 99)', 'false', '$(k == d)'])}")
    if _wild(random):
        key = random.choice([*fields, *NODE, *EXTRA_NODE, "nope"])
        entries.append(f"{key}: {_value(random, 2)}")
    return "{" + ", ".join([f"block: {block}", *entries]) + "}"


def _good(random: Random, field: Field) -> str:
    """Returns a value that the field allows, mostly."""
    if _wild(random):
        return _value(random, 1)
    if field.choices:
        return random.choice(field.choices)
    if field.type == "bool":
        return random.choice(["true", "false"])
    if field.type == "float":
        return random.choice(["0.5", "1.0", "2", "0"])
    odd = ["1", "3", "5", "$k", "$(k + 2)"]
    return random.choice(odd if field.odd else ["1", "2", "4", "8", "16", "$w", "$(2 * w)", "$d"])


def _composite(random: Random) -> str:
    inner = ", ".join(f"{name}: {_node(random, ['input'])}" for name in ("left", "right"))
    params = random.choice(["", "params: {w: int}, ", "params: {w: {type: int, default: 8}}, "])
    return f"{{{params}net: {{{inner}}}}}"


def _search(random: Random) -> str:
    targets = ["w", "k", "s", "net.stem.dim", "net.head.depth", '"net.stem[*].kernel"', "nothing"]
    kinds = [
        "{choice: [1, 3]}",
        "{range: [8, 32], step: 8}",
        "{choice: [relu, gelu], when: $(w > 8)}",
    ]
    if _wild(random):
        kinds = ["{choice: []}", "{subset: [1, 1]}", "{permutation: []}", _value(random, 2)]
    space = ", ".join(f"{each}: {random.choice(kinds)}" for each in random.sample(targets, 2))
    parts = [f"space: {{{space}}}"]
    parts += ["budget: {macs: {max: 1G}}"] if random.random() < 0.5 else []
    parts += ["require: [$(w > 0)]"] if random.random() < 0.5 else []
    parts += [f"fit: {{vary: w, to: {{macs: {_value(random, 0)}}}}}"] if _wild(random) else []
    return "{" + ", ".join(parts) + "}"


def _row(random: Random) -> str:
    sets = random.choice(["w: 32", "net.stem: null", "net.stem: {block: conv}", "net.stem.dim: 4"])
    extra = random.choice(
        ["", ", from: a", ", from: b", ", ref: {macs: 1G}", ", spec: std/resnet18"]
    )
    return f"{{set: {{{sets}}}{extra}}}"


def _map(random: Random, keys: Iterable[str], depth: int) -> str:
    known = sorted(keys)
    chosen = random.sample(known, random.randint(0, min(3, len(known))))
    return "{" + ", ".join(f"{key}: {_value(random, depth)}" for key in chosen) + "}"


def _value(random: Random, depth: int) -> str:
    way = random.random()
    if way < 0.35 or depth <= 0:
        number = random.choice(NUMBERS)
        return {True: "true", False: "false", None: "null"}.get(number, str(number))
    if way < 0.55:
        return random.choice(TEXTS) if random.random() < 0.3 else f'"{random.choice(TEXTS)}"'
    if way < 0.75:
        return f'"$({_expression(random, 3)})"'
    if way < 0.88:
        return "[" + ", ".join(_value(random, depth - 1) for _ in range(random.randint(0, 3))) + "]"
    return _map(random, KEYS, depth - 1)


def _expression(random: Random, depth: int) -> str:
    leaves = ["w", "k", "i", "n", "classes", "input.size", "0", "1", "2.5", "'conv'", "true", "no"]
    if depth == 0 or random.random() < 0.3:
        return random.choice(leaves)
    one, two = _expression(random, depth - 1), _expression(random, depth - 1)
    sign = random.choice(["+", "-", "*", "/", "//", "%", "==", "<", "in", "and", "or", "if x else"])
    called = f"{random.choice([*FUNCTIONS])}({one}, {two})"
    pair = f"{one} {sign} {two}"
    return random.choice([pair, f"({one})", f"-{one}", f"[{one}]", called, f"not {one}"])


class TooSlowError(Exception):
    """A case took more than its second of CPU."""


@contextmanager
def _within(seconds: float) -> Iterator[None]:
    def stop(signum: int, frame: FrameType | None) -> None:
        raise TooSlowError(f"more than {seconds} s of CPU")

    before = signal.signal(signal.SIGPROF, stop)
    gc.disable()  # what other tests left behind is not collected in this case's time
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        gc.enable()
        signal.signal(signal.SIGPROF, before)


def settle(data: bytes, *, seconds: float = 1.0) -> tuple[bool, float]:
    """Reads a hostile spec; returns whether it is a network, and the CPU seconds it took.

    Raises:
        AssertionError: A fault says less than it must.
        TooSlowError: It took longer than allowed.
        Exception: Anything but a list of faults, which is what this looks for.
    """
    began = time.process_time()
    with _within(seconds):
        good = _settle(data)
    return good, time.process_time() - began


def _settle(data: bytes) -> bool:
    try:
        spec = loads(decode(data, "wild.yaml"))
        assert spec.network().graph.macs >= 0
        assert spec.render()
    except SpecError as error:
        _check(error)
        return False
    return True


def _check(error: FlopwiseError) -> None:
    assert isinstance(error, SpecError) and error.faults
    for style in ("long", "short", "json"):
        assert render(error.faults, style)  # type: ignore[arg-type]
    for fault in error.faults:
        assert re.fullmatch(r"[EW]\d{3}", fault.code)
        assert fault.message and "\n" not in fault.message
        assert fault.place is None or 1 <= fault.place.line <= len(fault.place.source.lines) + 1


WAYS: tuple[Callable[[Random], bytes], ...] = (mutated, grown)
