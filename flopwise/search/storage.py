"""Where trials are kept: a journal on one machine, PostgreSQL or Optuna's gRPC proxy on several.

A store that does not answer is asked again, with growing pauses, and whoever watches is told once
that it is gone and once that it is back. Every write that flopwise makes may be made twice without
harm, so a write that was done although its answer got lost is simply done again: attributes hold
the same value, a claim (`claims.py`) is decided by the first of equal records, a trial without an
owner is given to whoever asks next, and a finished trial cannot be changed.
"""

from __future__ import annotations

import errno
import fcntl
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, TypeVar

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.storages import BaseStorage, JournalStorage, get_storage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, PendingRollbackError

from flopwise.errors import RunError

__all__ = [
    "DiskFullError",
    "JournalLock",
    "LeaveError",
    "LostError",
    "Patience",
    "StoreGoneError",
    "causes",
    "close_store",
    "full",
    "is_full",
    "is_gone",
    "open_store",
    "shown",
]

T = TypeVar("T")
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
FULL_WORDS = (
    "No space left",
    "quota exceeded",
    "PytorchStreamWriter failed",
    "file write failed",
    "basic_ios::clear: iostream error",
)
"""What safetensors and torch say in place of an error number."""
GONE_WORDS = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "UNKNOWN", "CANCELLED")
"""Status of a call that Optuna's proxy, or the database behind it, did not answer."""
LIMIT = 600.0
"""Seconds without an answer before a worker gives up."""
LONGEST = 15.0
"""Seconds of the longest pause between two tries."""


class LeaveError(RunError):
    """A worker must go, and its trial is no failure: another will continue it."""


class LostError(LeaveError):
    """Others took this worker for dead; what it held is theirs."""


class DiskFullError(LeaveError):
    """Nothing more can be written."""


class StoreGoneError(LeaveError):
    """The store did not answer for too long."""


class JournalLock(JournalFileOpenLock):
    """The lock of a journal: the system's own, on the file itself.

    The system frees it when its holder is killed. Whoever takes it cuts off half a last line, which
    a killed process leaves: without that the next record would be glued to it.
    """

    def __init__(self, journal: Path) -> None:
        """Takes the file to lock."""
        super().__init__(str(journal))
        self._journal, self._threads = journal, threading.Lock()
        self._held: IO[bytes] | None = None

    def acquire(self) -> bool:
        """Waits for the lock, then mends the file."""
        self._threads.acquire()
        try:
            self._held = self._journal.open("rb+")
            fcntl.flock(self._held, fcntl.LOCK_EX)
            _mend(self._held)
        except BaseException:
            self.release()
            raise
        return True

    def release(self) -> None:
        """Gives the lock back."""
        held, self._held = self._held, None
        try:
            if held:
                fcntl.flock(held, fcntl.LOCK_UN)  # also for children that inherited the file
                held.close()
        finally:
            self._threads.release()


def _mend(journal: IO[bytes]) -> None:
    """Cuts off a last line that has no end."""
    if not journal.seek(0, 2):
        return
    journal.seek(-1, 2)
    if journal.read(1) != b"\n":
        journal.seek(0)
        journal.truncate(journal.read().rfind(b"\n") + 1)


def open_store(journal: Path, url: str = "") -> BaseStorage:
    """Opens the store of a study.

    Args:
        journal: The journal file, used without a URL.
        url: `postgresql://USER@HOST/DATABASE`, or `grpc://HOST:PORT` of Optuna's proxy.

    Raises:
        RunError: The URL is of another kind, or what it needs is not installed.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if not url:
        return JournalStorage(JournalFileBackend(str(journal), lock_obj=JournalLock(journal)))
    kind, _, place = url.partition("://")
    if kind == "grpc":
        return _proxy(place)
    if kind.partition("+")[0] not in ("postgresql", "postgres"):
        raise RunError(
            f"--storage {shown(url)}: a study is kept in PostgreSQL or behind Optuna's gRPC proxy; "
            "write postgresql://USER@HOST/DATABASE or grpc://HOST:PORT, or leave --storage out for "
            "a journal file in the study's folder, which is right for one machine"
        )
    return _database(url)


def close_store(storage: BaseStorage) -> None:
    """Closes the connections of a database; other stores hold none."""
    storage.remove_session()
    if engine := getattr(getattr(storage, "_backend", storage), "engine", None):
        engine.dispose()


def _database(url: str) -> BaseStorage:
    try:
        import psycopg
    except ImportError:
        raise RunError(
            "PostgreSQL needs the package psycopg: pip install 'flopwise[postgres]'"
        ) from None
    try:
        address = make_url(url).set(drivername=f"postgresql+{psycopg.__name__}")
    except (ArgumentError, ValueError) as error:
        raise RunError(f"--storage {url}: {error}") from None
    reach = {"connect_timeout": 10, "keepalives_idle": 30, "keepalives_interval": 10}
    options = {"pool_pre_ping": True, "pool_size": 2, "connect_args": reach}
    text = address.render_as_string(hide_password=False)
    return get_storage(optuna.storages.RDBStorage(text, engine_kwargs=options))


def _proxy(place: str) -> BaseStorage:
    import warnings

    host, _, port = place.rpartition(":")
    if not (host and port.isdecimal()):
        raise RunError(f"--storage grpc://{place}: write grpc://HOST:PORT")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return optuna.storages.GrpcStorageProxy(host=host, port=int(port))


def shown(url: str) -> str:
    """Returns a URL without its password.

    >>> shown("postgresql://me:secret@host/db")
    'postgresql://me@host/db'
    """
    try:
        return make_url(url)._replace(password=None).render_as_string() if url else ""
    except (ArgumentError, ValueError):
        return url


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yields an error and what it came from."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def is_full(error: BaseException) -> bool:
    """Whether an error says that nothing more can be written."""
    return any(
        (isinstance(each, OSError) and each.errno in FULL)
        or any(words in str(each) for words in FULL_WORDS)
        for each in causes(error)
    )


def full(path: Path, error: BaseException) -> str:
    """Says that a disk is full and what to do."""
    return (
        f"there is no room to write {path} ({_first(error)}); make room, then give the same "
        "command again: every finished trial is kept, the present one goes on from its last epoch"
    )


def is_gone(error: BaseException) -> bool:
    """Whether an error says that the store cannot be reached now, not that a request was wrong.

    A line of the journal that cannot be read counts: it was cut off while it was being read.
    """
    for each in causes(error):
        if isinstance(each, DBAPIError):
            return each.connection_invalidated or _of_connection(each)
        if isinstance(each, PendingRollbackError | ConnectionError | json.JSONDecodeError):
            return True
        status: Any = getattr(each, "code", None)  # grpc is optional, so its errors are not named
        if callable(status) and getattr(status(), "name", "") in GONE_WORDS:
            return True
    return False


def _of_connection(error: DBAPIError) -> bool:
    return type(error).__name__ in ("OperationalError", "InterfaceError", "InternalError")


class Patience:
    """Asks a store again for as long as it does not answer."""

    def __init__(self, told: Callable[[str], None], limit: float = LIMIT) -> None:
        """Tells `told` what happens; gives up after `limit` seconds."""
        self._told, self._limit = told, limit

    def __call__(self, action: Callable[[], T]) -> T:
        """Returns what the action gives, once the store answers.

        Raises:
            StoreGoneError: It did not answer within the limit.
            DiskFullError: The journal's disk is full.
        """
        began, pause = time.monotonic(), 0.1
        while True:
            try:
                result = action()
            except Exception as error:
                if is_full(error):
                    raise DiskFullError(full(Path("the study's journal"), error)) from error
                if not is_gone(error):
                    raise
                gone = time.monotonic() - began
                if gone > self._limit:
                    raise StoreGoneError(
                        f"the study's storage has not answered for {gone:.0f} s ({_first(error)}); "
                        "nothing finished is lost: give the same command again when it is back"
                    ) from error
                if pause > 0.5 >= pause / 2:
                    self._told(f"the storage does not answer ({_first(error)}); trying again")
                time.sleep(pause)
                pause = min(2 * pause, LONGEST)
                continue
            if pause > 0.5:
                self._told(f"the storage answers again, after {time.monotonic() - began:.0f} s")
            return result


def _first(error: BaseException) -> str:
    deepest = list(causes(error))[-1]
    return (str(deepest).strip().splitlines() or [type(deepest).__name__])[0]
