"""Writing text files: a reader sees the old text or the new one, never half of it."""

from __future__ import annotations

import os
from pathlib import Path

from flopwise.errors import Fault, SpecError

__all__ = ["write_new", "write_text"]


def write_text(path: Path, text: str) -> None:
    """Writes a UTF-8 file at once; a file that exists keeps its permissions.

    A symbolic link stays one: the file it points to is written. A device or a pipe is written to,
    never replaced.
    """
    import tempfile  # most verbs write no file

    target = path.resolve()
    if target.exists() and not target.is_file():
        target.write_text(text, encoding="utf-8")
        return
    mode = target.stat().st_mode & 0o7777 if target.exists() else 0o666 & ~_umask()
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(text.encode())
        Path(name).chmod(mode)
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def write_new(path: Path, text: str) -> None:
    """Writes a file that does not exist yet.

    Raises:
        SpecError: The file exists (E123).
    """
    try:
        with path.open("x", encoding="utf-8", newline="\n") as file:
            file.write(text)
    except FileExistsError:
        fact = f"'{path}' exists already, and is not overwritten"
        help_ = "name another file with -o, or delete this one first"
        raise SpecError([Fault(code="E123", message=fact, helps=(help_,))]) from None


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
