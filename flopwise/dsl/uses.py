"""The `use` section: files with blocks of the user's own, found, allowed and run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from flopwise.blocks import Block
from flopwise.dsl.checker import Checker
from flopwise.dsl.consent import allow, digest, is_allowed
from flopwise.dsl.files import Code, File, read_code
from flopwise.dsl.tree import Items, Node, Scalar
from flopwise.dsl.usercode import run_code
from flopwise.errors import Place, SpecError

__all__ = ["Permission", "read_uses"]


@dataclass(frozen=True, slots=True)
class Permission:
    """Whether code may run: what was allowed before, all of it, or none (`never`)."""

    all: bool = False
    never: bool = False


def read_uses(
    checker: Checker,
    node: Node | None,
    files: Sequence[File],
    root: Path | None,
    permission: Permission,
) -> tuple[Code, ...]:
    """Returns the files that `use` names; their blocks join the checker's vocabulary.

    Args:
        checker: Where faults go.
        node: The value of `use` in the merged spec.
        files: The files of the spec; each path is relative to the one that says it.
        root: The folder that may not be left.
        permission: Whether they may be run.

    Raises:
        SpecError: A file cannot be read or run, or is not allowed to.
    """
    if node is None:
        return ()
    found = []
    for item in node.items if isinstance(node, Items) else (node,):
        if not isinstance(item, Scalar) or not isinstance(item.value, str):
            fact = "'use' is a list of Python files"
            checker.fault("E201", fact, item.place, "write  use: [./my_blocks.py]")
            continue
        try:
            code = read_code(files, item, root)
            found.append(code)
            _join(checker, code, item.place, permission)
        except SpecError as error:
            checker.faults += error.faults
    checker.stop_if_faulty()
    return tuple(found)


def _join(checker: Checker, code: Code, said: Place, permission: Permission) -> None:
    """Adds the blocks of a file to the vocabulary, if it may run."""
    if permission.never:
        checker.unrun = (*checker.unrun, code.name)
        return
    if permission.all:
        allow(code.text, str(code.path))
    elif not is_allowed(code.text):
        fact = f"'{code.name}' is Python code, and nobody has allowed it to run"
        note = f"it would run whenever this spec is read; SHA-256 {digest(code.text)[:16]}..."
        help_ = "read the file; if you trust it, add --allow-code to the command, once"
        checker.fault("E114", fact, said, help_, note=note)
        return
    blocks = run_code(code.text, str(code.path), code.name, said)
    _refuse_taken(checker, blocks, code, said)
    checker.blocks = {**checker.blocks, **blocks}


def _refuse_taken(checker: Checker, blocks: Mapping[str, Block], code: Code, said: Place) -> None:
    for name in blocks:
        if name in checker.blocks and checker.blocks[name] is not blocks[name]:
            fact = f"there is a block called '{name}' already, and '{code.name}' makes another"
            help_ = f'call the one in {code.name} otherwise, as in  @block(name="my_{name}")'
            checker.fault("E112", fact, said, help_)
