"""A PostgreSQL server of its own for a benchmark or a test: a temporary folder, loopback only.

Needs the programs `initdb` and `postgres`, on Debian: `apt-get install -y postgresql`. The server
refuses to run as root; started by root, it runs as the user `nobody`.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

__all__ = ["Postgres", "missing", "program"]

MISSING = "needs PostgreSQL's programs initdb and postgres: apt-get install -y postgresql"


def program(name: str) -> str:
    """Returns where a program of PostgreSQL lies; Debian keeps them off the path."""
    found = shutil.which(name)
    others = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return found or (str(others[-1]) if others else "")


def missing() -> str:
    """Says what this machine lacks; empty when nothing."""
    return "" if program("initdb") and program("postgres") else MISSING


class Postgres:
    """A running server with one empty database; a context manager."""

    def __init__(self, *settings: str) -> None:
        """Takes further settings, such as `max_connections=300`."""
        self._settings = settings
        self._home = Path(tempfile.mkdtemp(prefix="flopwise-pg-"))
        self._user = {"user": "nobody"} if os.geteuid() == 0 else {}
        self._server: subprocess.Popen[bytes] | None = None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]

    @property
    def url(self) -> str:
        """The address of its database."""
        return f"postgresql://flopwise@127.0.0.1:{self.port}/postgres"

    @property
    def pid(self) -> int:
        """The number of the process that all its others come from; 0 when it is stopped."""
        return self._server.pid if self._server else 0

    def __enter__(self) -> Postgres:
        """Makes the database and starts the server."""
        if self._user:
            shutil.chown(self._home, "nobody")
        make = [program("initdb"), "-D", str(self._home / "data"), "-U", "flopwise", "-A", "trust"]
        subprocess.run(make, check=True, capture_output=True, cwd="/", **self._user)
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stops the server and removes its folder."""
        self.stop()
        shutil.rmtree(self._home, ignore_errors=True)

    def start(self) -> None:
        """Starts the server and waits until it listens."""
        words = [program("postgres"), "-D", str(self._home / "data"), "-p", str(self.port)]
        settings = ("listen_addresses=127.0.0.1", "unix_socket_directories=", *self._settings)
        words += [word for each in settings for word in ("-c", each)]
        log = (self._home / "log").open("ab")
        with log:
            self._server = subprocess.Popen(words, stdout=log, stderr=log, cwd="/", **self._user)
        for _ in range(600):
            if self._server.poll() is not None:
                break
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise RuntimeError((self._home / "log").read_text()[-2000:])

    def stop(self, *, crash: bool = False) -> None:
        """Stops the server: told to leave everybody at once, or as if it had crashed."""
        if self._server:
            self._server.send_signal(signal.SIGQUIT if crash else signal.SIGINT)
            self._server.wait(timeout=60)
            self._server = None
