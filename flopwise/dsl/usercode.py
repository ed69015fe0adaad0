"""Running a Python file that holds blocks, and telling what is wrong with it by its own lines."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from types import ModuleType, TracebackType

from flopwise.blocks import Block
from flopwise.dsl.consent import digest
from flopwise.dsl.load import make_source
from flopwise.errors import BlockError, Fault, Place, Source, SpecError

__all__ = ["place_in_code", "run_code", "run_file"]

MARK = "__flopwise_source__"
"""Under this name a module keeps its text, so that a traceback leads to the line."""
_HELD: dict[tuple[str, str], Mapping[str, Block]] = {}


def run_code(text: str, path: str, name: str, said: Place) -> Mapping[str, Block]:
    """Runs a file once and returns its blocks by name.

    Args:
        text: What it says.
        path: Where it lies.
        name: What messages call it.
        said: The place in the spec that names it.

    Raises:
        SpecError: It is no Python, fails, or holds no block.
    """
    key = (path, digest(text))
    if key not in _HELD:
        source = make_source(name, text)
        try:
            module = _run(text, path, source, key)
        except SpecError as error:
            via = (said, "used here")
            raise SpecError([_with(fault, via) for fault in error.faults]) from None
        _HELD[key] = _blocks(module, name, said)
    return _HELD[key]


def run_file(text: str, path: str, name: str) -> ModuleType:
    """Runs a file that holds no blocks, and returns it as a module.

    Args:
        text: What it says.
        path: Where it lies.
        name: What messages call it.

    Raises:
        SpecError: It is no Python, or fails.
    """
    return _run(text, path, make_source(name, text), (path, digest(text)))


def place_in_code(error: BaseException) -> Place | None:
    """Returns the innermost line of a user's file that an exception passed through."""
    found = None
    step: TracebackType | None = error.__traceback__
    while step:
        source = step.tb_frame.f_globals.get(MARK)
        if isinstance(source, Source):
            found = _line(source, step.tb_lineno)
        step = step.tb_next
    return found


def _with(fault: Fault, via: tuple[Place, str]) -> Fault:
    return Fault(
        code=fault.code,
        message=fault.message,
        place=fault.place or via[0],
        label=fault.label,
        also=(*fault.also, via) if fault.place else fault.also,
        helps=fault.helps,
        notes=fault.notes,
    )


def _line(source: Source, number: int) -> Place:
    """Returns a line of a file; of a decorated function the one with its name."""
    lines = source.lines
    if lines[number - 1].lstrip().startswith("@"):
        ahead = range(number, min(number + 20, len(lines)))
        number = next((at + 1 for at in ahead if lines[at].lstrip().startswith("def ")), number)
    line = lines[number - 1]
    start = len(line) - len(line.lstrip())
    return Place(source, number, start + 1, max(1, len(line.strip())))


def _run(text: str, path: str, source: Source, key: tuple[str, str]) -> ModuleType:
    module = ModuleType(f"flopwise_use_{key[1][:16]}")
    module.__file__ = path
    module.__dict__[MARK] = source
    try:
        code = compile(text, path, "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        raise SpecError([_no_python(error, source)]) from None
    sys.modules[module.__name__] = module  # where dataclasses and pickle look for it
    try:
        exec(code, module.__dict__)
    except (Exception, SystemExit) as error:
        del sys.modules[module.__name__]
        raise SpecError([_failed(error, source)]) from None
    return module


def _no_python(error: SyntaxError | ValueError, source: Source) -> Fault:
    place = Place(source, 1, 1)
    if isinstance(error, SyntaxError) and error.lineno and error.lineno <= len(source.lines):
        place = Place(source, error.lineno, max(1, error.offset or 1))
    why = error.msg if isinstance(error, SyntaxError) else str(error)
    return Fault(code="E115", message=f"'{source.name}' is not valid Python: {why}", place=place)


def _failed(error: BaseException, source: Source) -> Fault:
    place = place_in_code(error)
    if isinstance(error, BlockError):  # of @block, about a signature
        return Fault(
            code=error.code,
            message=error.message,
            place=place,
            helps=error.helps,
            notes=error.notes,
        )
    fact = f"'{source.name}' fails: {type(error).__name__}: {error}".rstrip(": ")
    help_ = "the file is run when the spec is read; mend it, or take it out of 'use'"
    return Fault(code="E115", message=fact, place=place, label="raised here", helps=(help_,))


def _blocks(module: ModuleType, name: str, said: Place) -> Mapping[str, Block]:
    """Returns the blocks that a module itself defines.

    Raises:
        SpecError: There is none, or two have one name.
    """
    found: dict[str, Block] = {}
    for block in dict.fromkeys(_own(module)):
        if block.name in found:
            fact = f"two blocks of '{name}' are called '{block.name}'"
            help_ = 'give one of them another name, as in  @block(name="other")'
            raise SpecError([Fault(code="E112", message=fact, place=said, helps=(help_,))])
        found[block.name] = block
    if not found:
        fact = f"there is no block in '{name}'"
        help_ = "write  from flopwise.blocks import block  and  @block  above a function of tensors"
        raise SpecError([Fault(code="E116", message=fact, place=said, helps=(help_,))])
    return found


def _own(module: ModuleType) -> Iterator[Block]:
    """Yields blocks made here; those that were imported are known by their own names already."""
    for value in vars(module).values():
        if isinstance(value, Block) and value.function.__module__ == module.__name__:
            yield value
