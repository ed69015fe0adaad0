"""A scaling law in words: the table of its trainings, and what the lines say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from flopwise.report.tables import Cell, Table

if TYPE_CHECKING:  # types only: the room of search imports optuna
    from flopwise.search.laws import Law
    from flopwise.search.scaling import Cell as Trained
    from flopwise.search.scaling import Rate, Scaling

__all__ = ["law_words", "scaling_notes", "scaling_table"]


def scaling_table(found: Scaling) -> Table:
    """Returns a line per model, epoch budget and learning rate."""
    tests = any(each.test_loss for each in found.cells)
    heads = ("model", "MACs", "epochs", "lr", "trainings", "compute", "loss", "95 %")
    return Table(
        heads=(*heads, *(("test loss",) if tests else ()), "verdict"),
        rows=tuple(tuple(_cells(each, tests)) for each in found.cells),
    )


def _cells(each: Trained, tests: bool) -> Iterator[Cell]:
    first = each.first
    yield from (first.model, "" if first.macs is None else int(first.macs))
    yield from (_short(first.epochs), _short(first.lr), len(each.losses))
    yield f"{first.compute:.3e}"
    yield f"{each.loss:.4f}"
    yield "" if each.low is None else f"{each.low:.4f} to {each.high:.4f}"
    if tests:
        yield "" if each.test_loss is None else f"{each.test_loss:.4f}"
    yield _verdict(each)


def _verdict(each: Trained) -> str:
    if each.optimal:
        return "optimal"
    if not each.best:
        return "another lr is better"
    return "" if each.compared else "not compared"


def _short(number: float | None) -> str:
    return "" if number is None else f"{number:g}"


def scaling_notes(found: Scaling, counted: str, measured: str) -> Iterator[str]:
    """Yields what the columns are, then what the family says.

    Args:
        found: The law.
        counted: What its compute is.
        measured: What its loss is.
    """
    yield f"compute: {counted}"
    yield f"loss: {measured}; the mean is that of its logarithm"
    yield _noise(found)
    yield _rule(found)
    yield law_words("loss", found.loss, found)
    if not found.alone:
        yield law_words("MACs of the optimal model", found.macs, found)
        yield law_words("epochs of the optimal model", found.epochs, found)
    yield from map(_rate, found.rates)


def _noise(found: Scaling) -> str:
    spread = found.spread
    if not spread.freedom:
        return (
            "95 %: none, for nothing was trained twice; the bands know only what the optimal "
            "trainings lie off their line, and are somewhat narrow"
        )
    return (
        f"95 %: Student's t; deviation of a loss within its cell {100 * spread.deviation:.2g} %, "
        f"pooled with {spread.freedom} degrees of freedom; in the bands all losses are drawn "
        "again with it, and the optimal ones chosen anew in each draw"
    )


def _rule(found: Scaling) -> str:
    if found.alone:
        return "optimal: no training of at most its compute has a lower loss"
    return (
        "optimal: at its compute no other model's curve (straight between its trainings, on "
        "log-log axes) lies lower, and no training of less compute has a lower loss; 'not "
        "compared' where no other model has a curve there"
    )


def law_words(what: str, law: Law | None, found: Scaling) -> str:
    """Says a law in one line, or why there is none."""
    if law is None:
        number = len(found.optimal)
        need = "three at different compute are needed"
        many = "1 training is" if number == 1 else f"{number} trainings are"
        return f"{what}: no line, for {many} optimal and {need}"
    return (
        f"{what} = {law.scale:.4g} x compute^{law.exponent:.3f} (95 %: {law.low:.3f} to "
        f"{law.high:.3f}), by least squares of the logarithms through the {law.points} optimal "
        f"trainings, which lie {100 * law.residual:.2g} % off it"
    )


def _rate(rate: Rate) -> str:
    when = f"{rate.epochs:g} epochs" if rate.epochs else f"compute {rate.compute:.3e}"
    where = f"{rate.model} {when}".strip()
    span = "" if rate.low is None else f" (95 % of the draws: {rate.low:g} to {rate.high:g})"
    edge = f"; the {rate.edge} one tried, so a better one may lie beyond it" if rate.edge else ""
    return f"best lr of {where}: {rate.lr:g}{span} of {len(rate.tried)}{edge}"
