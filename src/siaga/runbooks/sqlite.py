"""The SQLite journal: one file, one writer, a library new enough for DBOS."""

from __future__ import annotations

import contextlib
import fcntl
import importlib
import os
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import sqlalchemy as sa

from siaga.errors import PlatformFault, Refused

VERSION_MIN = (3, 42)
"""Before it `unixepoch('subsec')` is NULL, and DBOS dies on its first row."""
_MODULES = ("sqlite3", "pysqlite3.dbapi2")
_BUSY_MS = 30_000
_PASSING = (
    "database or disk is full",
    "disk I/O error",
    "unable to open database file",
    "attempt to write a readonly database",
)


def module(names: Sequence[str] = _MODULES) -> ModuleType:
    """A driver whose SQLite is new enough; the standard library's where it is.

    Whoever opens the journal in the engine's process takes this one: two SQLite libraries in one process don't see
    each other's locks, and the first that closes the file drops those of the other.
    """
    found = []
    for name in names:
        with contextlib.suppress(ImportError):
            driver = importlib.import_module(name)
            if driver.sqlite_version_info >= VERSION_MIN:
                return driver
            found.append(f"{name} has {driver.sqlite_version}")
    wanted = ".".join(str(part) for part in VERSION_MIN)
    raise PlatformFault(
        f"the journal of runs needs SQLite {wanted} or later; {', '.join(found) or 'no SQLite was found'}",
        hint="Install `pysqlite3-binary` beside siaga, or a newer Python, or keep the state in PostgreSQL.",
    )


def create_engine(path: Path) -> sa.Engine:
    """An engine as DBOS would make it: writers take turns, for up to 30 s."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    engine = sa.create_engine(f"sqlite:///{path}", module=module(), hide_parameters=True, pool_size=20, max_overflow=0)

    @sa.event.listens_for(engine, "connect")
    def prepare(connection: Any, _: Any) -> None:
        # As DBOS does for engines of its own; readers and writers in one transaction would deadlock otherwise.
        connection.isolation_level = "IMMEDIATE"
        connection.execute(f"PRAGMA busy_timeout={_BUSY_MS}")
        connection.execute("PRAGMA foreign_keys=ON")

    return engine


def passes(error: BaseException) -> bool:
    """Whether the trouble is the disk's, and may be over later."""
    return any(text in str(error) for text in _PASSING)


def retriable(error: BaseException) -> Exception:
    """The one error of SQLite that DBOS tries again after."""
    return module().OperationalError(f"database is locked (after: {error})")  # type: ignore[no-any-return]


class Lock:
    """One engine a journal: two would carry out every run twice."""

    def __init__(self, path: Path) -> None:
        self._path = path.with_name(path.name + ".lock")
        self._descriptor = -1

    def take(self) -> None:
        """Refused when another engine has it; it falls back when its holder dies."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise Refused(
                f"another engine works with the journal {self._path.with_suffix('')}",
                hint="End the other controller first; `siaga status` shows it.",
            ) from None
        self._descriptor = descriptor

    def release(self) -> None:
        """Let another one have it."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
