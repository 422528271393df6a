"""What holds wherever incidents are kept: files, and a real PostgreSQL that is fenced by the leader's epoch."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from contest import StateDatabase
from incident_receivers import receiver
from incident_service import APPLICATION, Log, outage, pagerduty, service, store_at, until

from siaga.errors import StoreFault
from siaga.evidence.model import Record
from siaga.incidents import acts
from siaga.incidents.model import Book, Incident, Level
from siaga.incidents.notify.routes import Thread
from siaga.incidents.store import Kept

pytestmark = pytest.mark.clause("ZDT-1")
KEY = "R0UTINGKEY"
NOW = datetime(2026, 11, 23, 3, 12, 7, tzinfo=UTC)


def declared(reason: str) -> Incident:
    _, changes = acts.declare(Book(), Level.CRITICAL, "ana", reason, NOW)
    return replace(changes[0].incident, id=f"inc-{reason}")


def resolved(reason: str, by: str = "ana") -> Incident:
    return replace(declared(reason), mitigated_at=NOW, resolved_at=NOW, resolved_by=by, resolved_reason="over")


def test_everything_is_there_after_a_restart(place: Path | str) -> None:
    incident = replace(declared("open"), acknowledged_at=NOW, acknowledged_by="budi")
    kept = Kept(
        Book(open={incident.id: incident}),
        (Thread("on-call", incident.id, told_level=3, accepted=1),),
        (Record("incident.opened", "controller", "ZDT-1", "users get errors \u2028 ü", {"n": 1}),),
        (resolved("closed"),),
    )
    store_at(place).save(Kept())
    store_at(place).save(kept)
    found = store_at(place).load()
    assert found == replace(kept, book=Book(kept.book.open, (resolved("closed"),)))


def test_nothing_is_kept_before_anything_was(place: Path | str) -> None:
    store = store_at(place)
    assert (store.load(), store.archive(), store.deliveries(5)) == (Kept(), [], [])


def test_of_a_closed_incident_that_is_kept_twice_the_last_counts(place: Path | str) -> None:
    store = store_at(place)
    store.save(Kept(unarchived=(resolved("one"), resolved("two"))))
    store.save(Kept(unarchived=(resolved("one", by="budi"),)))
    assert [(one.id, one.resolved_by) for one in store_at(place).archive()] == [("inc-one", "budi"), ("inc-two", "ana")]


def test_the_latest_deliveries_are_told_oldest_first(place: Path | str) -> None:
    store = store_at(place)
    for n in range(7):
        store.note_delivery({"n": n})
    assert store_at(place).deliveries(3) == [{"n": 4}, {"n": 5}, {"n": 6}]


async def test_what_is_damaged_is_set_aside_and_what_lasts_opens_again(
    place: Path | str, request: pytest.FixtureRequest
) -> None:
    if isinstance(place, Path):
        (place / "incidents.json").write_text('{"format": 1, "open": [')
    else:
        store_at(place).save(Kept())
        database: StateDatabase = request.getfixturevalue("database")
        database.query('update siaga_incidents.kept set body = \'{"format": 1, "open": [\'')
    async with service(place, [], Log()) as incidents:
        assert incidents.open == ()
        await incidents.note([outage()])
        assert len(incidents.open) == 1
    if isinstance(place, Path):
        assert (place / "incidents.damaged").exists()
    else:
        assert database.query("select count(*) from siaga_incidents.kept where name = 'damaged'") == [(1,)]


# PostgreSQL alone -------------------------------------------------------------------------------------------


async def test_a_take_over_goes_on_with_the_same_incident_and_pages_nobody_twice(database: StateDatabase) -> None:
    async with receiver() as there:
        routes = [pagerduty(there.url)]
        old_store = store_at(database.conninfo)
        async with service(old_store, routes, Log(), routing_key=KEY) as old:
            await old.note([outage()])
            await there.until(lambda heard: len(heard) == 1)
            await until(lambda: bool(old.open[0].notified_by))
            await old.acknowledge(old.open[0].id, "ana")
            await there.until(lambda heard: len(heard) == 2)
            await until(lambda: [line["event"] for line in old_store.deliveries(9)][-1:] == ["acknowledged"])
            # The old one lives on and does not know yet.
            database.query("update siaga_state.leader set epoch = 2")
            async with service(store_at(database.conninfo, epoch=2), routes, Log(), routing_key=KEY) as new:
                await new.note([outage()])
                assert [one.id for one in new.open] == [one.id for one in old.open]
                assert new.open[0].acknowledged_by == "ana"
                shown = new.show(new.open[0].id)
                assert (shown["told"], len(shown["deliveries"])) == ("told by on-call", 2)
                await old.declare(Level.MAJOR, "budi", "said to the wrong one")
                assert "epoch 1 is over" in old.describe()["disk_trouble"]
                await new.note([outage(present=False)])
                await new.resolve(new.open[0].id, "ana", "front door restarted")
                heard = await there.until(lambda heard: any(e["event_action"] == "resolve" for e in heard))
    (incident,) = store_at(database.conninfo).archive()
    pages = [e for e in heard if e["event_action"] == "trigger" and e["dedup_key"].endswith(incident.id)]
    assert len(pages) == 1


def test_an_epoch_that_is_over_can_keep_nothing(database: StateDatabase) -> None:
    old, new = store_at(database.conninfo), store_at(database.conninfo, epoch=2)
    old.save(Kept(unarchived=(resolved("one"),)))
    database.query("update siaga_state.leader set epoch = 2")
    with pytest.raises(StoreFault, match="epoch 1 is over"):
        old.save(Kept(unarchived=(resolved("two"),)))
    with pytest.raises(StoreFault, match="epoch 1 is over"):
        old.note_delivery({"n": 1})
    assert [one.id for one in new.archive()] == ["inc-one"]
    assert new.deliveries(5) == []


async def test_while_the_database_is_away_people_are_told_and_all_is_kept_when_it_is_back(
    database: StateDatabase,
) -> None:
    async with (
        receiver() as there,
        service(database.conninfo, [pagerduty(there.url)], Log(), routing_key=KEY) as incidents,
    ):
        await asyncio.to_thread(database.server.stop)
        try:
            await incidents.note([outage()])
            await there.until(lambda heard: len(heard) == 1)
            assert incidents.describe()["disk_trouble"]
        finally:
            await asyncio.to_thread(database.server.start)
        await until(lambda: incidents.describe()["disk_trouble"] == "")
        assert list(store_at(database.conninfo).load().book.open) == [incidents.open[0].id]


async def test_a_connection_that_was_cut_loses_nothing(database: StateDatabase) -> None:
    async with service(database.conninfo, [], Log()) as incidents:
        await incidents.note([outage()])
        database.query(
            "select pg_terminate_backend(pid) from pg_stat_activity where application_name = %s", APPLICATION
        )
        await incidents.acknowledge(incidents.open[0].id, "ana")
        await until(lambda: incidents.describe()["disk_trouble"] == "")
        (kept,) = store_at(database.conninfo).load().book.open.values()
        assert kept.acknowledged_by == "ana"
