"""@block: a function over symbolic tensors becomes a `Block`; its signature is the schema.

The checker, the help text, the JSON Schema and the picker of domains all read `Block.fields`;
nobody describes a setting a second time.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints, overload

from flopwise.blocks.tensor import Map, Tensor, Tokens, Vec
from flopwise.errors import BlockError

__all__ = [
    "COUNTS",
    "Block",
    "Count",
    "Field",
    "First",
    "Local",
    "Made",
    "Natural",
    "Odd",
    "Positive",
    "Rate",
    "Share",
    "argument_help",
    "block",
    "only",
    "read_signature",
]

COUNTS = ("i", "n")
"""Keywords that are no settings: the number of the repetition, from 0, and how many there are."""

T = TypeVar("T")
Scalar = int | float | bool | str
Made = Tensor | tuple[Tensor, ...]
"""What a block's function returns: one tensor, or one for each of its `outputs`."""
FieldType = Literal["int", "float", "bool", "text", "list[int]"]
TYPES: dict[Any, FieldType] = {
    int: "int",
    float: "float",
    bool: "bool",
    str: "text",
    tuple[int, ...]: "list[int]",
}


@dataclass(frozen=True, slots=True)
class _Mark:
    """What an annotation adds to a plain type."""

    low: float | None = None
    high: float | None = None
    odd: bool = False
    first: bool = False
    local: bool = False
    only: tuple[str, ...] = ()


def only(setting: str, *values: str) -> _Mark:
    """Marks a setting that counts only where another is set, or has one of these values."""
    return _Mark(only=(setting, *values))


Natural = Annotated[int, _Mark(low=0)]
Positive = Annotated[int, _Mark(low=1)]
Count = Annotated[int, _Mark(low=0)]
Odd = Annotated[int, _Mark(low=1, odd=True)]
Rate = Annotated[float, _Mark(low=0.0, high=1.0)]
Share = Annotated[float, _Mark(low=0.0, high=1e6)]  # times a width it stays a whole number
First = Annotated[T, _Mark(first=True)]
Local = Annotated[T, _Mark(local=True)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One setting of a block.

    Attributes:
        name: The key a spec writes.
        type: `int`, `float`, `bool`, `text` or `list[int]`.
        default: The value when the spec says nothing; None means "as the input has it".
        required: True when a spec must write it.
        choices: The allowed texts, if they are closed.
        low: Smallest allowed number.
        high: Largest allowed number.
        odd: True when even numbers are refused.
        multiple_of: What a number must be a multiple of.
        first: True when only the first repetition of a stage (or its entry) sees the value.
        local: True when file-wide `defaults` do not reach it.
        only: The setting without which this one does nothing, and the values of it that count;
            none for every value that is something.
        doc: One line of help.
    """

    name: str
    type: FieldType
    default: Scalar | tuple[int, ...] | None = None
    required: bool = False
    choices: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    odd: bool = False
    multiple_of: int | None = None
    first: bool = False
    local: bool = False
    only: tuple[str, ...] = ()
    doc: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Block:
    """A named piece of a network: a function from symbolic tensors and settings to tensors.

    Attributes:
        name: The word a spec writes after `block:`.
        function: The definition; its positional parameters are the inputs.
        entry: Layers that a stage runs once, before and outside its first block.
        fields: All settings, of the block and of its entry, in the order of the signatures.
        own: Names of the settings the block itself takes; the others belong to the entry.
        ports: Names of the inputs; a last port `*xs` takes any number.
        takes: The tensor kinds each port accepts, in the order of `ports`.
        once: True when the block stands alone in its stage and cannot be repeated.
        init: Name of the family's initialisation rule.
        head: True when the last layer is the classifier that a user may replace.
        scope: Which of `i` and `n`, the number of the repetition and of all, the function takes.
        outputs: Names of the outputs, the first being the default; empty for one without a name.
        absent: True when the block sees which inputs are absent; to others they are zeros.
    """

    name: str
    function: Callable[..., Made]
    entry: Callable[..., Tensor] | None
    fields: Mapping[str, Field]
    own: frozenset[str]
    ports: tuple[str, ...]
    takes: tuple[tuple[type[Tensor], ...], ...]
    once: bool
    init: str
    head: bool
    doc: str
    scope: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    absent: bool = False

    @property
    def variadic(self) -> bool:
        """Whether the last port takes any number of inputs."""
        return self.ports[-1].startswith("*")


@overload
def block(function: Callable[..., Made], /) -> Block: ...


@overload
def block(
    *,
    name: str | None = ...,
    entry: Callable[..., Tensor] | None = ...,
    once: bool = ...,
    init: str = ...,
    head: bool = ...,
    outputs: tuple[str, ...] = ...,
    absent: bool = ...,
) -> Callable[[Callable[..., Made]], Block]: ...


def block(
    function: Callable[..., Made] | None = None,
    /,
    *,
    name: str | None = None,
    entry: Callable[..., Tensor] | None = None,
    once: bool = False,
    init: str = "torch",
    head: bool = False,
    outputs: tuple[str, ...] = (),
    absent: bool = False,
) -> Block | Callable[[Callable[..., Made]], Block]:
    """Wraps a function over symbolic tensors into a `Block`; it registers nothing."""

    def wrap(body: Callable[..., Made]) -> Block:
        ports, fields = read_signature(body)
        entry_fields = read_signature(entry)[1] if entry else {}
        return Block(
            name=name or body.__name__.strip("_"),
            function=body,
            entry=entry,
            fields={**fields, **{k: v for k, v in entry_fields.items() if k not in fields}},
            own=frozenset(fields),
            ports=tuple(ports),
            takes=tuple(ports.values()),
            once=once,
            init=init,
            head=head,
            doc=inspect.getdoc(body) or "",
            scope=tuple(name for name in COUNTS if name in inspect.signature(body).parameters),
            outputs=outputs,
            absent=absent,
        )

    return wrap if function is None else wrap(function)


def read_signature(
    body: Callable[..., Made],
) -> tuple[dict[str, tuple[type[Tensor], ...]], dict[str, Field]]:
    """Returns the ports (name -> accepted kinds) and the settings of a block function."""
    hints = get_type_hints(body, include_extras=True)
    help_lines = argument_help(inspect.getdoc(body) or "")
    ports: dict[str, tuple[type[Tensor], ...]] = {}
    fields: dict[str, Field] = {}
    for parameter in inspect.signature(body).parameters.values():
        if parameter.name in COUNTS:
            continue
        if parameter.kind is inspect.Parameter.VAR_KEYWORD or parameter.name not in hints:
            raise _inexpressible(body, parameter, "write its type, as in  kernel: int = 3")
        hint = hints[parameter.name]
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
            text = help_lines.get(parameter.name, "")
            fields[parameter.name] = _field(body, parameter, hint, text)
        else:
            star = "*" if parameter.kind is inspect.Parameter.VAR_POSITIONAL else ""
            ports[star + parameter.name] = _kinds(body, parameter, hint)
    if not ports:
        raise BlockError(
            "E116",
            f"block '{body.__name__}' takes no tensor",
            helps=("begin its parameters with one, as in  (x: Map, *, dim: int)",),
        )
    return ports, fields


def _inexpressible(
    body: Callable[..., Made], parameter: inspect.Parameter, *helps: str
) -> BlockError:
    fact = f"a spec cannot express the parameter '{parameter}' of block '{body.__name__}'"
    note = "tensors come first: Map, Tokens, Vec or Tensor; settings after * are int, float, bool, "
    return BlockError("E116", fact, helps=helps, notes=(f"{note}str, tuple[int, ...] or Literal",))


@lru_cache(maxsize=256)
def argument_help(docstring: str) -> dict[str, str]:
    """Returns the help of each setting, from the docstring's `Settings:` section."""
    _, _, section = docstring.partition("Settings:\n")
    found: dict[str, str] = {}
    name = ""
    for line in section.splitlines():
        if not line.strip() or not line.startswith(" "):
            break
        if match := re.match(r"\s{4}(\w+): (.*)", line):
            name = match[1]
            found[name] = match[2].strip()
        elif name:
            found[name] += " " + line.strip()
    return found


def _kinds(
    body: Callable[..., Made], parameter: inspect.Parameter, hint: Any
) -> tuple[type[Tensor], ...]:
    kinds = get_args(hint) or (hint,)
    if not all(isinstance(kind, type) and issubclass(kind, Tensor) for kind in kinds):
        help_ = "put a star before the settings, as in  (x: Map, *, dim: int)"
        raise _inexpressible(body, parameter, help_)
    return (Map, Tokens, Vec) if kinds == (Tensor,) else tuple(kinds)


def _field(body: Callable[..., Made], parameter: inspect.Parameter, hint: Any, doc: str) -> Field:
    marks: list[_Mark] = []
    while True:  # peel Annotated[...] and `| None` down to the plain type
        if get_origin(hint) is Annotated:
            hint, *extra = get_args(hint)
            marks += [mark for mark in extra if isinstance(mark, _Mark)]
        elif type(None) in get_args(hint):
            hint = next(part for part in get_args(hint) if part is not type(None))
        else:
            break
    choices = tuple(get_args(hint)) if get_origin(hint) is Literal else ()
    required = parameter.default is inspect.Parameter.empty
    if (hint not in TYPES and not choices) or not all(isinstance(word, str) for word in choices):
        raise _inexpressible(body, parameter)
    return Field(
        name=parameter.name,
        type="text" if choices else TYPES[hint],
        default=None if required else parameter.default,
        required=required,
        choices=choices,
        low=next((m.low for m in marks if m.low is not None), None),
        high=next((m.high for m in marks if m.high is not None), None),
        odd=any(m.odd for m in marks),
        first=any(m.first for m in marks),
        local=any(m.local for m in marks),
        only=next((m.only for m in marks if m.only), ()),
        doc=doc,
    )
