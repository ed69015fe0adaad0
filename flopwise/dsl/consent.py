"""Which files of code a person has allowed to run, by the SHA-256 of what they say.

Kept in `$XDG_CONFIG_HOME/flopwise/allowed.txt`, one line a file: the hash and the name it had. A
file that changes has another hash and is asked about again.
"""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["allow", "digest", "is_allowed", "knows", "remember"]

_ALLOWED: set[str] = set()  # also where the folder cannot be written


def digest(text: str) -> str:
    """Returns the hash by which a text is known."""
    from hashlib import sha256  # brings OpenSSL, which few specs need

    return sha256(text.encode()).hexdigest()


def is_allowed(text: str) -> bool:
    """Whether this very text was allowed before."""
    return knows(digest(text))


def knows(hash: str) -> bool:
    """Whether a file of this hash was allowed before."""
    if hash in _ALLOWED:
        return True
    try:
        lines = _list().read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return False
    return hash in {line.partition(" ")[0] for line in lines}


def allow(text: str, name: str) -> None:
    """Remembers that this text may run."""
    remember(digest(text), name)


def remember(hash: str, name: str) -> None:
    """Remembers that a file of this hash may run."""
    if knows(hash):
        return
    _ALLOWED.add(hash)
    try:
        _list().parent.mkdir(parents=True, exist_ok=True)
        with _list().open("a", encoding="utf-8") as file:
            file.write(f"{hash} {' '.join(name.split())}\n")
    except (OSError, ValueError):
        return  # this process remembers it all the same


def _list() -> Path:
    home = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(home) / "flopwise" / "allowed.txt"
