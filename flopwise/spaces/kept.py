"""Tables kept on disk, so that a search, its workers and `flopwise space` fill them once.

They lie in `$XDG_CACHE_HOME/flopwise/tables` under the hash of what they are made from: what the
spec says of its networks and their space, its own Python files, and the sources of flopwise that
decide what a network costs. A file holds numbers and names only; one that is damaged, or does not
fit the space, is made anew. Of processes that need the same tables one fills them, and the others
wait for it.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from time import process_time
from typing import Any, TypeAlias
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from flopwise.dsl import Spec
from flopwise.dsl.route import Route
from flopwise.dsl.spent import Unsteady
from flopwise.dsl.tree import Items, Node, Section
from flopwise.spaces.tables import COLUMNS, Compiled, Level

__all__ = ["folder", "kept"]

WORTH = 1.0
"""Seconds of CPU time from which on tables are kept."""
ROOMS = ("blocks", "dsl", "spaces")
"""Folders of flopwise whose sources decide what a network costs."""
ASIDE = frozenset({"name", "doc", "table", "export", "search"})
"""Sections that no cost depends on; of a search only its space counts."""
DAMAGE = (OSError, ValueError, KeyError, IndexError, TypeError, EOFError, BadZipFile, zlib.error)
"""What reading a file may raise that is not what it should be."""

Array: TypeAlias = NDArray[Any]


def folder() -> Path:
    """Returns where tables are kept."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "flopwise" / "tables"


def kept(
    spec: Spec, route: Route, make: Callable[[], Compiled], sound: Callable[[Compiled], bool]
) -> Compiled:
    """Returns the tables of a space, from the disk where they were filled before.

    Args:
        spec: The spec of the space.
        route: Its route.
        make: What fills the tables.
        sound: Whether tables that were read may be used.

    Raises:
        Unsteady: The space has no tables; it says why.
    """
    place = folder() / f"{_key(spec)}.npz"

    def known() -> Compiled | None:
        found = _read(place, route)
        return found if found and sound(found) else None

    found = known()
    if found is None:
        with _turn(place):
            found = known() or _made(place, route, make)
    return found


def _made(place: Path, route: Route, make: Callable[[], Compiled]) -> Compiled:
    """Fills tables, and keeps them where that took long."""
    began = process_time()
    try:
        found = make()
    except Unsteady as reason:
        if process_time() - began > WORTH:
            _write(place, {"why": str(reason)}, {})
        raise
    if process_time() - began > WORTH:
        _write(place, *_plain(found, route))
    return found


def _key(spec: Spec) -> str:
    """Returns the hash of everything that tables are made from."""
    search = spec.search
    assert search, "there is a space"
    tree = spec.origin.changed()
    said = {name: _content(node) for name, node in tree.entries.items() if name not in ASIDE}
    domains = [[name, repr(domain)] for name, domain in search.space.items()]
    when = [[name, [each.text for each in several]] for name, several in search.when.items()]
    require = [each.text for each in search.require]
    fit = [search.fit.vary, repr(search.fit.domain)] if search.fit else []
    codes = [[code.key, code.text] for code in spec.codes]
    parts = [_sources(), list(said.items()), domains, when, require, fit, codes]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def _content(node: Node) -> Any:
    """Returns what a node says, without places."""
    if isinstance(node, Section):
        return [[name, _content(each)] for name, each in node.entries.items()]
    return [*map(_content, node.items)] if isinstance(node, Items) else repr(node.value)


@cache
def _sources() -> str:
    """Returns the hash of the sources that decide what a network costs."""
    root, found = Path(__file__).parent.parent, hashlib.sha256()
    for path in sorted(each for room in ROOMS for each in (root / room).rglob("*.py")):
        found.update(f"{path.relative_to(root)}\n".encode() + path.read_bytes())
    return found.hexdigest()


@contextmanager
def _turn(place: Path) -> Iterator[None]:
    """Waits while another process fills the same tables; the system ends the turn of a dead one."""
    lock = place.with_suffix(".lock")
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        held = lock.open("wb")
    except OSError:  # a folder that may not be written: everyone fills their own
        yield
        return
    with held:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(held, fcntl.LOCK_EX)
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


def _plain(found: Compiled, route: Route) -> tuple[dict[str, Any], dict[str, Array]]:
    """Returns tables as plain data and arrays."""
    arrays = {"built": found.built, "allowed": found.allowed}
    for at, level in enumerate(found.levels):
        parts = {"next": level.next, "cost": level.cost, "told": level.told, "counts": level.counts}
        arrays |= {f"{name}{at}": array for name, array in parts.items()}
    return {
        "levels": [list(level.targets) for level in found.levels],
        "free": sorted(found.free),
        "late": [at for at, check in enumerate(route.checks) if check in found.late],
        "runs": found.runs,
    }, arrays


def _write(place: Path, said: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
    """Writes a file that nobody ever sees half of; a disk may refuse it."""
    head = np.frombuffer(json.dumps(said).encode(), np.uint8)
    with suppress(OSError):
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=place.parent, suffix=".part", delete=False) as draft:
            try:
                np.savez_compressed(draft, allow_pickle=False, said=head, **arrays)
                draft.close()
                Path(draft.name).replace(place)
            except BaseException:
                Path(draft.name).unlink(missing_ok=True)
                raise


def _read(place: Path, route: Route) -> Compiled | None:
    """Returns the tables of a file; None where there is none that fits the space.

    Raises:
        Unsteady: The space is known to have no tables.
    """
    try:
        with place.open("rb") as held, np.load(held, allow_pickle=False) as file:
            said = json.loads(file["said"].tobytes())
            if "why" in said:
                raise Unsteady(str(said["why"]))
            levels = [_level(file, route, *each) for each in enumerate(said["levels"])]
            built, allowed = file["built"], file["allowed"]
            free = {name: route.domains[name] for name in said["free"]}
            late = tuple(route.checks[at] for at in said["late"])
            found = Compiled(tuple(levels), built, allowed, free, late, int(said["runs"]))
            return found if _whole(found, route) else None
    except DAMAGE:
        return None


def _level(file: Mapping[str, Array], route: Route, at: int, targets: list[str]) -> Level:
    sizes = tuple(int(route.domains[name].size) for name in targets)
    parts = (file[f"{name}{at}"] for name in ("next", "cost", "told", "counts"))
    return Level(tuple(targets), sizes, *parts)


def _whole(found: Compiled, route: Route) -> bool:
    """Whether levels fit together, and hold every target once."""
    targets = [name for level in found.levels for name in level.targets]
    known = sorted([*targets, *found.free]) == sorted(route.domains)
    states = [len(level.next) for level in found.levels] + [len(found.built)]
    good = known and states[0] == 1 and found.built.shape == found.allowed.shape
    good = good and found.built.dtype == found.allowed.dtype == np.bool_
    for level, after in zip(found.levels, states[1:], strict=True):
        cells = (len(level.next), int(np.prod(level.sizes, dtype=np.int64)))
        good = good and level.next.shape == level.told.shape == cells
        good = good and level.cost.shape == (*cells, len(COLUMNS))
        good = good and level.counts.shape == (*cells, len(level.targets))
        good = good and level.next.dtype == level.cost.dtype == np.int64
        good = good and level.told.dtype == level.counts.dtype == np.bool_
        good = good and level.next.min() >= 0 and level.next.max() < after
    return bool(good)
