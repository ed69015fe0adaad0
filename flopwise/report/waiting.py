"""How far long work is: a bar in a terminal, one line anywhere else, nothing if it is quick."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TextIO

__all__ = ["waiting"]


@contextmanager
def waiting(stream: TextIO, what: str) -> Iterator[Callable[[float], None]]:
    """Gives what is told the share that is done; nothing is shown before it is.

    Args:
        stream: Where it is shown; a bar is taken away at the end.
        what: What is worked out, in words.
    """
    shown: list[Callable[[float], None]] = []
    with ExitStack() as stack:

        def tell(share: float) -> None:
            if not shown:
                shown.append(stack.enter_context(_shown(stream, what)))
            shown[0](share)

        yield tell


@contextmanager
def _shown(stream: TextIO, what: str) -> Iterator[Callable[[float], None]]:
    from rich.console import Console  # most work is quick and shows nothing
    from rich.progress import Progress

    console = Console(file=stream)
    if not console.is_terminal:
        print(f"{what}: this takes a while", file=stream, flush=True)
        yield lambda share: None
        return
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task(what, total=1.0)
        yield lambda share: progress.update(task, completed=share)
