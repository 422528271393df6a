"""The journal against a real server: everything is in it once, and it says the same as the database."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from journal_servers import MAP, PASSWORD, ROLE, Journal, Ledger, Postgres, create_ledger, publish
from wallet_servers import wait_until

from siaga.journal import beyond, compare, segments
from siaga.journal.lsn import parse
from siaga.journal.verify import verify
from siaga.ledger.load import load as load_map

pytestmark = pytest.mark.clause("DRP-3.2b")


class Load:
    """Movements at random, as fast as they go, from threads of its own."""

    def __init__(self, ledger: Ledger, clients: int = 3) -> None:
        self._ledger = ledger
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(seed,)) for seed in range(clients)]
        self.done = 0

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    def _run(self, seed: int) -> None:
        drawn = random.Random(seed)
        while not self._stop.is_set():
            try:
                with closing(psycopg.connect(self._ledger.conninfo, autocommit=True)) as connection:
                    while not self._stop.is_set():
                        debit, credit = drawn.sample(range(1, 21), 2)
                        key = f"{seed}-{drawn.getrandbits(64):x}"
                        connection.execute(
                            "select bank.move(%s, 'transfer', %s, %s, %s)", (key, debit, credit, drawn.randint(1, 1000))
                        )
                        self.done += 1
            except psycopg.OperationalError:
                self._stop.wait(0.05)


def _login(ledger: Ledger) -> str:
    return f"host=127.0.0.1 port={ledger.postgres.server.port} dbname={ledger.name} user={ROLE} password={PASSWORD}"


def _compare(journal: Journal) -> compare.Comparison:
    return compare.compare(_login(journal.ledger), load_map(MAP), journal.directory)


def test_every_entry_is_in_the_journal_once_whenever_its_process_is_killed(journal: Journal, ledger: Ledger) -> None:
    drawn = random.Random(20261123)
    with Load(ledger) as load:
        for _ in range(8):
            before = load.done
            wait_until(lambda before=before: load.done > before + drawn.randint(50, 300), "the load goes on")
            journal.kill()
            journal.start()
        journal.await_state("streaming")
    journal.catch_up()
    found = journal.entries()
    assert len(found) > 1000
    assert len(found) == len(set(found))
    assert set(found) == ledger.entries()
    assert verify(journal.contents()) == []
    assert _compare(journal).matches


def test_a_live_database_and_its_journal_say_the_same_while_money_moves(journal: Journal, ledger: Ledger) -> None:
    with Load(ledger), psycopg.connect(ledger.conninfo) as slow:
        # A transaction that is not over when the snapshot is taken, and one that never ends well.
        slow.execute("select bank.move('slow', 'transfer', 19, 20, 5)")
        for _ in range(5):
            found = _compare(journal)
            assert found.matches, found.differences
            assert found.snapshot is not None
    journal.catch_up()
    assert _compare(journal).matches


def test_what_commits_after_the_snapshot_is_left_out_whatever_its_position(
    journal: Journal, ledger: Ledger, tmp_path: Path
) -> None:
    ledger.move(1, 2)
    mapped = load_map(MAP)
    with psycopg.connect(ledger.conninfo) as slow:
        slow.execute("select bank.move('slow', 'transfer', 3, 4, 5)")
        point = compare.read_database(_login(ledger), mapped, tmp_path / "database.parquet")
        ledger.move(5, 6)
    journal.catch_up()
    found = compare.differences(journal.contents(), mapped, tmp_path / "database.parquet", point)
    assert found.matches, found.differences
    assert found.left_out == 6


def test_a_tampered_entry_and_a_deleted_one_differ_by_account(journal: Journal, ledger: Ledger) -> None:
    for account in (1, 3, 5):
        ledger.move(account, account + 1, amount=100)
    journal.catch_up()
    ledger.query("update bank.entries set amount = -90, balance_after = -90 where account = 1")
    ledger.query("delete from bank.entries where account = 3")
    found = _compare(journal)
    assert [difference.account for difference in found.differences] == ["1", "3"]
    tampered, deleted = found.differences
    assert tampered.database is not None
    assert tampered.journal is not None
    assert (tampered.database.amount_sum, tampered.journal.amount_sum) == (-90, -100)
    assert deleted.database is None
    wait_until(lambda: journal.status()["changes_of_the_log"] == 2, "the changes are noted")


def test_what_was_there_before_is_the_base(ledger: Ledger, new_journal: Callable[..., Journal]) -> None:
    with Load(ledger) as load:
        wait_until(lambda: load.done > 100, "there is something before")
        journal = new_journal(ledger)
        journal.start()
        journal.await_state("streaming")
    journal.catch_up()
    found = _compare(journal)
    assert found.matches, found.differences
    assert len(journal.entries()) < len(ledger.entries())


def test_a_transaction_larger_than_memory_may_hold_is_written_in_parts(journal: Journal, ledger: Ledger) -> None:
    large = "insert into bank.entries select 7, n, 1, n, 0 from generate_series(1, 80000) n"
    ledger.query(large)
    ledger.move(1, 2)
    journal.catch_up(60)
    assert len(journal.entries()) == 80_002
    assert verify(journal.contents()) == []


def test_a_large_transaction_cut_in_its_midst_is_there_once(journal: Journal, ledger: Ledger) -> None:
    log = segments.log_path(journal.directory, 1)
    small = log.stat().st_size
    ledger.query("insert into bank.entries select 7, n, 1, n, 0 from generate_series(1, 80000) n")
    wait_until(lambda: log.stat().st_size > small + (1 << 20), "some parts are written")
    journal.kill()
    journal.start()
    journal.catch_up(60)
    assert sorted(journal.entries()) == sorted(("7", str(n)) for n in range(1, 80_001))


def test_money_of_any_size_sign_or_none_is_kept_as_it_was_written(
    ledger: Ledger, new_journal: Callable[..., Journal], tmp_path: Path
) -> None:
    ledger.query(
        "create table bank.odd (owner text, amount numeric, note text); alter table bank.odd replica identity full"
    )
    odd = _text_map(tmp_path)
    ledger.query("create table bank.owners (id text primary key, balance numeric)")
    publish(ledger, ledger_map=odd)
    journal = new_journal(ledger, map=str(odd))
    journal.start()
    journal.await_state("streaming")
    huge = "9" * 200
    rows = [("\\N", huge), ('a,"b"\n', f"-{huge}.5"), ("", "NaN"), (None, "-1"), ("é\t'", None), ("\\", "1.2345")]
    for owner, amount in rows:
        ledger.query("insert into bank.odd values (%s, %s::numeric)", owner, amount)
    journal.catch_up()
    assert [(row["account"], row["amount"]) for row in journal.rows()] == rows
    found = compare.compare(_login(ledger), load_map(odd), journal.directory)
    assert found.matches, found.differences


def _text_map(directory: Path) -> Path:
    """A map of text ids and numeric money."""
    path = directory / "odd.toml"
    path.write_text(
        '[accounts]\ntable = "bank.owners"\nid = "id"\nbalance = "balance"\ndecimals = 2\n'
        '[entries]\ntable = "bank.odd"\naccount = "owner"\namount = "amount"\n'
    )
    return path


def test_a_server_that_is_killed_and_comes_back_costs_nothing(
    new_postgres: Callable[..., Postgres], new_journal: Callable[..., Journal]
) -> None:
    postgres = new_postgres()
    postgres.start()
    ledger = create_ledger(postgres, "bank")
    journal = new_journal(ledger)
    journal.start()
    journal.await_state("streaming")
    with Load(ledger) as load:
        wait_until(lambda: load.done > 200, "money moves")
        postgres.server.kill()
        journal.await_state("waiting")
        postgres.start()
        before = load.done
        wait_until(lambda: load.done > before + 200, "money moves again", 20)
    journal.catch_up()
    found = journal.entries()
    assert len(found) == len(set(found))
    assert set(found) == ledger.entries()
    assert journal.status()["gaps"] == []
    assert list(beyond.abandoned(journal.contents(), load_map(MAP).transactions)) == []
    assert parse(journal.status()["position"]["lsn"]) > 0
