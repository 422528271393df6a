"""A switch to another system: the old side is read up to the marker, the new one from it on (decision 10)."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest
from journal_servers import MAP, PASSWORD, ROLE, Journal, Ledger, Postgres, create_ledger, publish
from wallet_servers import wait_until

from siaga.journal import compare, handover
from siaga.journal.handover import Source
from siaga.ledger.load import load as load_map

pytestmark = [pytest.mark.clause("PMT-2.1"), pytest.mark.clause("DRP-3.2b")]

TABLES = "bank.accounts, bank.transfers, bank.entries, public.marker"


def _side(postgres: Postgres) -> Ledger:
    postgres.start()
    ledger = create_ledger(postgres, "bank")
    ledger.query("create table marker (id int primary key, n bigint not null)")
    publish(ledger, marker="public.marker")
    ledger.query(f"create publication switch for table {TABLES}")
    return ledger


def _subscribe(to: Ledger, at: Ledger) -> None:
    at.query(
        f"create subscription from_{to.postgres.server.port} connection '{to.conninfo}' publication switch "
        "with (copy_data = false, origin = none)"
    )


def _marker(ledger: Ledger) -> int:
    ((n,),) = ledger.query("update marker set n = n + 1 returning n")
    return int(n)


def _matches(journal: Journal, ledger: Ledger) -> bool:
    login = f"host=127.0.0.1 port={ledger.postgres.server.port} dbname=bank user={ROLE} password={PASSWORD}"
    return compare.compare(login, load_map(MAP), journal.directory).matches


def test_the_journal_goes_over_at_the_marker_and_comes_back(
    new_postgres: Callable[..., Postgres], new_journal: Callable[..., Journal]
) -> None:
    blue, green = _side(new_postgres()), _side(new_postgres())
    blue.query("insert into marker values (1, 0)")
    green.query("insert into marker values (1, 0)")
    _subscribe(blue, green)
    _subscribe(green, blue)
    journal = new_journal(blue, marker="public.marker")
    journal.start()
    journal.await_state("streaming")
    blue.move(1, 2, key="before")
    green_source = Source(f"host=127.0.0.1 port={green.postgres.server.port} dbname=bank user={ROLE}", "from_green", 1)
    with psycopg.connect(green.conninfo, autocommit=True) as connection:
        connection.execute("select pg_create_logical_replication_slot('from_green', 'pgoutput')")
    # The order may come before the marker; until then the old side is read on.
    handover.order(journal.directory, green_source)
    blue.move(3, 4, key="still blue")
    assert _marker(blue) == 1
    _shows(green, 1)
    green.query("select setval('bank.transfers_id_seq', 1000)")
    green.move(5, 6, key="green")
    wait_until(lambda: _keys(journal) == ["before", "still blue", "green"], f"all is there: {_keys(journal)}", 30)
    # The echo that the reverse stream brings to blue is not read, and blue is not read any more.
    journal.kill()
    journal.start()
    journal.await_state("streaming")
    assert _keys(journal) == ["before", "still blue", "green"]
    assert _matches(journal, green)
    assert journal.status()["gaps"] == []
    handover.order(journal.directory, Source(str(journal_source(blue)), journal.slot, 2))
    assert _marker(green) == 2
    _shows(blue, 2)
    blue.query("select setval('bank.transfers_id_seq', 2000)")
    blue.move(7, 8, key="blue again")
    wait_until(lambda: _keys(journal)[-1] == "blue again", f"it is back: {_keys(journal)}\n{journal.log()}", 30)
    assert _keys(journal) == ["before", "still blue", "green", "blue again"]
    assert _matches(journal, blue)


def journal_source(ledger: Ledger) -> str:
    """As a configuration names it."""
    return f"host=127.0.0.1 port={ledger.postgres.server.port} dbname=bank user={ROLE}"


def _shows(ledger: Ledger, n: int) -> None:
    wait_until(lambda: ledger.query("select n from marker") == [(n,)], f"marker {n} is there", 20)


def _keys(journal: Journal) -> list[str]:
    import json

    return [json.loads(row["detail"])["key"] for row in journal.rows() if row["kind"] == "row"]


def test_another_system_without_a_hand_over_stops_the_journal(
    ledger: Ledger, new_journal: Callable[..., Journal], new_postgres: Callable[..., Postgres]
) -> None:
    journal = new_journal(ledger)
    journal.start()
    journal.await_state("streaming")
    journal.stop()
    stranger = new_postgres()
    stranger.start()
    other = create_ledger(stranger, ledger.name)
    journal.ledger = other
    journal.start()
    assert "is another system" in journal.await_state("stopped")["why"]
