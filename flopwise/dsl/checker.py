"""Collecting faults: keys against a table, shapes and literals against a rule."""

from __future__ import annotations

from collections.abc import Mapping

from flopwise.blocks import BLOCKS, Block
from flopwise.dsl.expr import Expression
from flopwise.dsl.functions import Value
from flopwise.dsl.meaning import meant_by_list
from flopwise.dsl.plan import Setting, read_setting
from flopwise.dsl.tree import Items, Node, Scalar, Section
from flopwise.dsl.values import Misfit, Rule, RuleLike, fit
from flopwise.errors import Fault, Place, SpecError, nearest

__all__ = ["Checker"]

FOUND = {"map": "a map", "list": "a list", "": "a single value"}
HOMES = {
    **dict.fromkeys(("space", "budget", "require", "objective", "trials", "sampler"), "search"),
    **dict.fromkeys(("epochs", "batch", "batch_size", "lr", "opt", "optimizer", "data"), "train"),
    **dict.fromkeys(("rows", "matrix", "columns"), "table"),
    **dict.fromkeys(("size", "channels"), "input"),
}
"""Keys that people write at the top, and the section they belong to."""
EXAMPLE = {"map": "{key: value}", "list": "[a, b]", "": "value"}


class Checker:
    """Collects faults and warnings; a pass ends with `stop_if_faulty`.

    Attributes:
        blocks: The vocabulary of the spec; it grows with the spec's own blocks.
        unrun: Files whose blocks are unknown, since their code was not run.
        unread: Whether some of `blocks` cannot be read, which is a fault already.
        stages: The names of the spec's stages.
        undeclared: Blocks of the spec, each with a name it uses and does not have as a parameter.
    """

    def __init__(self) -> None:
        """Starts without faults, and with the shipped blocks."""
        self.blocks: Mapping[str, Block] = BLOCKS
        self.unrun: tuple[str, ...] = ()
        self.unread = False
        self.stages: tuple[str, ...] = ()
        self.undeclared: set[tuple[str, str]] = set()
        self.faults: list[Fault] = []
        self.warnings: list[Fault] = []

    def fault(
        self,
        code: str,
        message: str,
        place: Place,
        *helps: str,
        label: str = "",
        note: str = "",
        also: tuple[tuple[Place, str], ...] = (),
    ) -> None:
        """Notes one fault, or one warning if its code begins with W."""
        told = Fault(
            code=code,
            message=message,
            place=place,
            label=label,
            also=also,
            helps=helps,
            notes=(note,) if note else (),
        )
        (self.warnings if code.startswith("W") else self.faults).append(told)

    def stop_if_faulty(self) -> None:
        """Ends a pass: later ones would only repeat its faults in other words."""
        if self.faults:
            raise SpecError(self.faults)

    def keys(self, section: Section, rules: Mapping[str, Rule], what: str, at: Place) -> None:
        """Checks that every key is known and every required one is there."""
        meant = set()
        for name, place in section.keys.items():
            if name not in rules and not (what == "the spec" and name.startswith("x_")):
                near = nearest(name, rules)
                helps = (f"did you mean '{near}'?",) if near else ()
                meant.add(near)
                if not near and what == "the spec" and name in HOMES:
                    helps = (f"put it below  {HOMES[name]}:",)
                if not near and "set" in rules:  # what a row changes stands one level deeper
                    helps = (f"if '{name}' is a variable, write  set: {{{name}: ...}}",)
                note = f"keys of {what}: {', '.join(rules)}"
                fact = f"{what} has no key '{name}'"
                self.fault("E107", fact, place, *helps, label="unknown key", note=note)
        for rule in rules.values():
            if rule.required and rule.name not in {*section.entries, *meant}:
                fact = f"the key '{rule.name}' is missing in {what}"
                self.fault("E106", fact, at, f"add  {rule.example or rule.name}", note=rule.doc)

    def section(self, node: Node, rule: Rule) -> Section | None:
        """Returns a node that must be a map."""
        return node if self.shape(node, rule) and isinstance(node, Section) else None

    def shape(self, node: Node, rule: Rule) -> bool:
        """Checks whether a node is a map, list or scalar as its rule says."""
        kind = "map" if isinstance(node, Section) else "list" if isinstance(node, Items) else ""
        wanted = rule.type if rule.type in ("map", "list") else ""
        free = rule.type == "any" or (rule.type == "value" and kind != "map")
        if free or kind == wanted or (rule.type == "size" and kind == "list"):
            return True
        fact = f"'{rule.name}' must be {FOUND[wanted]}, but this is {FOUND[kind]}"
        example = rule.example or f"{rule.name}: {EXAMPLE[wanted]}"
        if not wanted and not rule.example and isinstance(node, Items):
            values = [item.value for item in node.items if isinstance(item, Scalar)]
            known = [value for value in values if value is not None]
            numbers = all(isinstance(value, int | float) for value in known)
            if known and numbers and len(known) == len(node.items):
                example = f"{rule.name}: {meant_by_list(known)}"
        empty = isinstance(node, Scalar) and node.value is None
        if wanted == "map" and empty:
            example += f"  or  {rule.name}: {{}}"
        self.fault("E201", fact, node.place, f"write  {example}")
        return False

    def setting(self, node: Node, rule: RuleLike, what: str) -> Setting | None:
        """Returns a value or expression, checked as far as its text allows."""
        shape = Rule(name=rule.name, type="size" if rule.type in ("size", "list[int]") else "float")
        if rule.type != "value" and not self.shape(node, shape):
            return None
        try:
            setting = read_setting(node)
        except SpecError as error:
            self.faults += error.faults
            return None
        if setting is None:
            fact = f"{what} must be a value or a list of values"
            help_ = "give each value a name of its own, or list them in [ ]"
            self.fault("E201", fact, node.place, help_)
        elif rule.type != "value" and not isinstance(setting.value, Expression):
            self.fits(setting.value, rule, what, setting.place)
        return setting

    def literal(self, node: Node, rule: RuleLike, what: str) -> Value | None:
        """Returns a value that no expression may give, in the type of its rule."""
        setting = self.setting(node, Rule(name=rule.name, type="value"), what)
        if setting is None:
            return None
        if isinstance(setting.value, Expression):
            fact = f"{what} must be written out; no expression is evaluated here"
            self.fault("E201", fact, node.place, "write the value itself")
            return None
        if isinstance(setting.value, tuple) and rule.type not in ("size", "list[int]", "value"):
            self.shape(node, Rule(name=rule.name, type="float"))
            return None
        return self.fits(setting.value, rule, what, setting.place, literal=True)

    def literals(
        self, section: Section, rules: Mapping[str, Rule], what: str, at: Place
    ) -> dict[str, Value]:
        """Returns the scalars of a section that holds only literals, after checking its keys."""
        self.keys(section, rules, what, at)
        found: dict[str, Value] = {}
        for name, node in section.entries.items():
            rule = rules.get(name)
            if rule is None or rule.type in ("map", "list", "any"):
                continue
            value = self.literal(node, rule, f"'{name}' of {what}")
            if value is not None:
                found[name] = value
        return found

    def fits(
        self, value: Value, rule: RuleLike, what: str, place: Place, *, literal: bool = False
    ) -> Value | None:
        """Returns a value in the type of its rule."""
        try:
            return value if rule.type == "value" else fit(value, rule, what)
        except Misfit as error:
            helps = [each for each in error.helps if not (literal and "$" in each)]
            self.fault(error.code, error.message, place, *helps, label=error.label, note=error.note)
            return None
