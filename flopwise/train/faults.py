"""What is told of data or recipes that cannot be used: E601 to E624, E512, E513."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from flopwise.errors import Fault, SpecError, nearest

__all__ = ["known_word", "refusal"]


def refusal(
    code: str, message: str, *, helps: Sequence[str] = (), notes: Sequence[str] = ()
) -> SpecError:
    """Returns the error that says what is wrong and how to mend it."""
    return SpecError([Fault(code=code, message=message, helps=tuple(helps), notes=tuple(notes))])


def known_word(code: str, what: str, word: str, known: Iterable[str]) -> None:
    """Raises when `word` is not among the known words of `what`, with the nearest of them."""
    words = sorted(known)
    if word in words:
        return
    guess = nearest(word, words)
    helps = [f"did you mean '{guess}'?"] if guess else []
    listed = ", ".join(words[:40]) + (", ..." if len(words) > 40 else "")
    raise refusal(code, f"{what} '{word}' is not known", helps=helps, notes=[f"known: {listed}"])
