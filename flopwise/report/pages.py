"""The page of a fault: what it means, a spec that has it, what is said about it, the spec mended.

The pages are `faults.md` beside this module, one section a code, so that people can read them there
as well. What is said is not written down: the example is read, and the answer shown.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from flopwise.dsl import loads
from flopwise.errors import Fault, SpecError, render
from flopwise.report.warned import warned

__all__ = ["Page", "page", "pages", "told"]

TITLE = re.compile(r"^## ([EW]\d{3}): (.+)$", re.MULTILINE)
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What is written about one code.

    Attributes:
        code: Such as `E303`.
        title: The fault in a few words.
        text: What it means and why it is one, in Markdown without examples.
        broken: A spec that has the fault; empty where no spec alone can show it.
        mended: The same without it.
    """

    code: str
    title: str
    text: str
    broken: str
    mended: str

    def __str__(self) -> str:
        parts = [f"{self.code}: {self.title}", self.text]
        if self.broken:
            parts += ["For example:", _indented(self.broken)]
            parts += ["is answered with:", _indented(told(self.broken))]
        if self.mended:
            parts += ["Mended:", _indented(self.mended)]
        return "\n\n".join(parts)


def page(code: str) -> Page:
    """Returns the page of a code.

    Raises:
        SpecError: There is no such code (E125).
    """
    found = pages().get(code.upper())
    if found is None:
        alike = [each for each in pages() if each[:2] == code[:2].upper()] or pages()
        note = f"codes: {', '.join(alike)}"
        fact = f"no fault has the code '{code}'"
        raise SpecError([Fault(code="E125", message=fact, notes=(note,))])
    return found


@cache
def pages() -> Mapping[str, Page]:
    """Returns every page by its code."""
    text = Path(__file__).with_name("faults.md").read_text(encoding="utf-8")
    parts = TITLE.split(text)[1:]
    read = (_page(*parts[at : at + 3]) for at in range(0, len(parts), 3))
    return {each.code: each for each in read}


def _page(code: str, title: str, body: str) -> Page:
    specs = [inner for kind, inner in FENCE.findall(body) if kind == "yaml"]
    text = FENCE.sub(lambda match: "" if match[1] == "yaml" else _indented(match[2]), body)
    broken, mended = ([*specs, "", ""])[:2]
    text = re.sub(r"\n{3,}", "\n\n", text).strip()
    return Page(code=code, title=title, text=text, broken=broken, mended=mended)


def told(text: str) -> str:
    """Returns what is said about a spec: its faults, or its warnings."""
    try:
        spec = loads(text, name="net.yaml")
        return render(warned(spec))
    except SpecError as error:
        return str(error)


def _indented(text: str) -> str:
    return "\n".join(f"    {line}".rstrip() for line in text.strip("\n").splitlines())
