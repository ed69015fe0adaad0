"""Everything that a spec is warned of: what it says, and the space that it searches."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flopwise.dsl import Spec
from flopwise.errors import Fault

if TYPE_CHECKING:
    from flopwise.dsl.probe import Counted

__all__ = ["warned"]


def warned(spec: Spec) -> tuple[Fault, ...]:
    """Returns the warnings of a spec; nothing is built or trained.

    Raises:
        SpecError: No candidate of its space was feasible (E501), told of each budget.
    """

    def count(budget: int) -> Counted | None:
        from flopwise.spaces import counted  # brings numpy, which few specs need here

        return counted(spec)(budget)

    return (*spec.warnings, *spec.probed(count))
