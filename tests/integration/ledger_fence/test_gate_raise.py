"""Movements in flight while the fence is raised: who committed before stays, who commits after sees the generation."""

from __future__ import annotations

import asyncio
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from fence_server import APPLICATION, Ledger
from wallet_servers import wait_until

from siaga.errors import Refused
from siaga.ledger.gate import Gate, Raised
from siaga.ledger.gate_install import GATE


@contextmanager
def in_flight(ledger: Ledger, *, isolation: str = "read committed") -> Iterator[psycopg.Connection]:
    """A movement that asked the gate, wrote, and has not committed."""
    with psycopg.connect(ledger.conninfo(APPLICATION)) as connection:
        connection.execute(f"set transaction isolation level {isolation}".encode())
        moved = connection.execute("select shop.move('acc-1', 'acc-2', 5, %s)", (secrets.token_hex(4),)).fetchone()
        assert moved == (None,)
        yield connection


@pytest.mark.clause("DRP-3.2b")
async def test_newcomers_are_refused_at_once_and_the_movement_in_flight_is_waited_for(ledger: Ledger) -> None:
    with in_flight(ledger) as connection:
        raised = await ledger.gate.raise_generation("a drill", by="ann")
        assert ledger.move("acc-3", "acc-4") == "acc-3"
        (moving,) = await ledger.gate.settle(0.05)
        assert moving.pid == connection.info.backend_pid
        assert (await ledger.gate.standing()).settled_system is None
        early = ledger.proof()
        settling = asyncio.create_task(ledger.gate.settle(20.0))
        connection.commit()
    assert await settling == ()
    assert ledger.query("select count(*) from shop.entries") == [(2,)]
    with pytest.raises(Refused, match=f"older than generation {raised.generation}"):
        await ledger.gate.release(early, by="ann")
    await ledger.gate.release(ledger.proof(), by="ann")


@pytest.mark.clause("DRP-3.2b")
@pytest.mark.parametrize("isolation", ["repeatable read", "serializable"])
async def test_a_transaction_with_an_older_snapshot_cannot_move_by_what_it_sees(ledger: Ledger, isolation: str) -> None:
    with psycopg.connect(ledger.conninfo(APPLICATION)) as connection:
        connection.execute(f"set transaction isolation level {isolation}".encode())
        connection.execute("select count(*) from shop.entries")
        await ledger.gate.raise_generation("a drill", by="ann")
        assert await ledger.gate.settle(5.0) == ()
        with pytest.raises(psycopg.errors.SerializationFailure):
            connection.execute("select shop.move('acc-1', 'acc-2', 5, 'late')")
    assert ledger.query("select count(*) from shop.entries") == [(0,)]


@pytest.mark.parametrize("isolation", ["repeatable read", "serializable"])
async def test_a_movement_of_any_isolation_is_waited_for(ledger: Ledger, isolation: str) -> None:
    with in_flight(ledger, isolation=isolation) as connection:
        # Under these levels the movement holds the gate's row too, so the raise waits for it.
        raising = asyncio.create_task(ledger.gate.raise_generation("a drill", by="ann"))
        waiting = "select count(*) from pg_stat_activity where application_name = 'siaga gate'"
        waiting += " and wait_event = 'transactionid'"
        await asyncio.to_thread(wait_until, lambda: ledger.query(waiting) == [(1,)], "the raise waits")
        connection.commit()
    await raising
    assert await ledger.gate.settle(5.0) == ()
    assert ledger.query("select count(*) from shop.entries") == [(2,)]


@pytest.mark.clause("DRP-3.2b")
async def test_a_prepared_transaction_from_before_is_named_and_no_verdict_opens_until_it_has_ended(
    ledger: Ledger,
) -> None:
    gid = f"order-{ledger.name}"
    with psycopg.connect(ledger.conninfo(APPLICATION), autocommit=True) as connection:
        connection.execute("begin")
        connection.execute("select shop.move('acc-1', 'acc-2', 5, 'prepared')")
        connection.execute(f"prepare transaction '{gid}'".encode())
    raised = await ledger.gate.raise_generation("a drill", by="ann")
    (moving,) = await ledger.gate.settle(0.05)
    assert (moving.pid, moving.prepared_as) == (None, gid)
    assert gid in str(moving)
    with pytest.raises(Refused, match="not settled"):
        await ledger.gate.release(ledger.proof(), by="ann")
    before = ledger.proof()
    ledger.query(f"commit prepared '{gid}'")
    assert await ledger.gate.settle(5.0) == ()
    with pytest.raises(Refused, match=f"older than generation {raised.generation}"):
        await ledger.gate.release(before, by="ann")
    await ledger.gate.release(ledger.proof(), by="ann")


@pytest.mark.clause("DRP-3.2b")
@pytest.mark.parametrize("all_open_is_noted", [False, True])
async def test_a_movement_reads_the_gate_only_after_it_holds_the_lock(ledger: Ledger, all_open_is_noted: bool) -> None:
    """Else a raise could find nobody to wait for, and the movement go on by what it had read."""
    if all_open_is_noted:
        await ledger.gate.note_all_open()
    with psycopg.connect(ledger.admin) as holding:
        holding.execute("select pg_advisory_xact_lock(siaga.movements_lock())")
        moving = asyncio.create_task(asyncio.to_thread(ledger.move))
        waiting = "select count(*) from pg_locks where locktype = 'advisory' and not granted"
        await asyncio.to_thread(wait_until, lambda: ledger.query(waiting) == [(1,)], "the movement waits")
        await ledger.gate.raise_generation("a drill", by="ann")
        holding.commit()
    assert await moving == "acc-1"


@pytest.mark.clause("DRP-3.2b")
async def test_movers_at_full_speed_never_commit_behind_a_settled_raise(forgetful: Ledger) -> None:
    """Without the trigger: whatever a snapshot taken after settling does not see, the next release let through."""
    ledger = forgetful
    stop = threading.Event()
    moved = [0] * 4

    def mover(number: int) -> None:
        with psycopg.connect(ledger.conninfo(APPLICATION), autocommit=True) as connection:
            while not stop.is_set():
                found = connection.execute("select shop.move(%s, 'acc-9', 1, 'm')", (f"acc-{number}",)).fetchone()
                moved[number] += found == (None,)

    threads = [threading.Thread(target=mover, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(6):
            so_far = sum(moved)
            await asyncio.to_thread(wait_until, lambda before=so_far: sum(moved) > before + 20, "money moves")
            await ledger.gate.raise_generation("a drill", by="ann")
            assert await ledger.gate.settle(10.0) == ()
            count, snapshot = ledger.query("select count(*), pg_current_snapshot()::text from shop.entries")[0]
            refused = "select shop.move('acc-5', 'acc-6', 1, 'm')"
            assert [ledger.query(refused, role=APPLICATION) for _ in range(20)] == [[("acc-5",)]] * 20
            assert ledger.query("select count(*) from shop.entries") == [(count,)]
            await ledger.gate.release(ledger.proof(snapshot=snapshot), by="ann")
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@pytest.mark.clause("DRP-3.2b")
async def test_a_report_that_closes_an_open_account_waits_for_what_it_had_begun(ledger: Ledger) -> None:
    assert await ledger.gate.settle(5.0) == ()
    await ledger.gate.note_all_open()
    with in_flight(ledger) as connection:
        bad = {"account": "acc-1", "failed_checks": ["balance"], "entries": []}
        report = ledger.proof(verdict="mismatch", mismatched=[bad])
        releasing = asyncio.create_task(ledger.gate.release(report, by="ann"))
        closed = "select siaga.closed_account('acc-1')"
        await asyncio.to_thread(wait_until, lambda: ledger.query(closed) == [("acc-1",)], "the account is closed")
        with pytest.raises(Refused, match="not settled"):
            await ledger.gate.release(ledger.proof(), by="bob")
        assert not releasing.done()
        connection.commit()
    assert (await releasing).moving == ()
    assert ledger.move("acc-3", "acc-4") is None


@pytest.mark.clause("DRP-3.2b")
async def test_closing_needs_no_quorum_and_names_the_movement_whose_commit_waits_for_it(ledger: Ledger) -> None:
    def set_quorum(names: str) -> None:
        ledger.query(f"alter system set synchronous_standby_names = '{names}'")
        ledger.query("select pg_reload_conf()")
        wait_until(lambda: ledger.query("show synchronous_standby_names") == [(names,)], "the quorum is set")

    set_quorum("nobody")
    moving = asyncio.create_task(asyncio.to_thread(ledger.move))
    try:
        waiting = "select pid from pg_stat_activity where wait_event = 'SyncRep'"
        await asyncio.to_thread(wait_until, lambda: len(ledger.query(waiting)) == 1, "the commit waits")
        ((pid,),) = ledger.query(waiting)
        await ledger.gate.raise_generation("a drill", by="ann")
        assert [found.pid for found in await ledger.gate.settle(0.05)] == [pid]
        assert ledger.query("select siaga.closed_account('acc-3')") == [("acc-3",)]
    finally:
        set_quorum("")
    assert await moving is None
    assert await ledger.gate.settle(10.0) == ()
    assert ledger.query("select count(*) from shop.entries") == [(2,)]


async def test_one_run_raises_once_and_two_at_once_raise_twice(ledger: Ledger) -> None:
    before = (await ledger.gate.standing()).generation
    first = await ledger.gate.raise_generation("a recovery", by="recover", key="run-7")
    again = await ledger.gate.raise_generation("a recovery", by="recover", key="run-7")
    assert (first, again) == (Raised(before + 1, True), Raised(before + 1, False))
    both = await asyncio.gather(*(ledger.gate.raise_generation("two", by=name, key=name) for name in ("ann", "bob")))
    assert {raised.generation for raised in both} == {before + 2, before + 3}
    above = await ledger.gate.raise_generation("after a roll-back", by="recover", above=40)
    assert above.generation == 41
    acts = ledger.query("select act, generation, reason from siaga.gate_history order by generation")
    assert [generation for _, generation, _ in acts] == [before + 1, before + 2, before + 3, 41]
    assert acts[0] == ("raised", before + 1, "a recovery")


KILLED = """
import asyncio, sys
from siaga.ledger.gate import Gate

async def main():
    gate = Gate(sys.argv[1])
    await gate.raise_generation("a recovery", by="recover", key="run-8")
    await gate.settle(60.0)

asyncio.run(main())
"""


@pytest.mark.clause("DRP-3.2b")
async def test_killed_between_raising_and_telling_the_gate_stays_closed_and_the_run_goes_on(ledger: Ledger) -> None:
    with in_flight(ledger) as connection:
        raiser = subprocess.Popen([sys.executable, "-c", KILLED, ledger.conninfo(GATE)])
        closed = "select not is_open from siaga.gate"
        await asyncio.to_thread(wait_until, lambda: ledger.query(closed) == [(True,)], "the gate is closed", 30)
        raiser.send_signal(signal.SIGKILL)
        raiser.wait(10)
        connection.commit()
    assert ledger.move() == "acc-1"
    with pytest.raises(Refused, match="not settled"):
        await ledger.gate.release(ledger.proof(), by="ann")
    again = await ledger.gate.raise_generation("a recovery", by="recover", key="run-8")
    assert again.is_new is False
    assert await ledger.gate.settle(5.0) == ()
    await ledger.gate.release(ledger.proof(), by="ann")
    assert ledger.move() is None


async def test_a_crash_of_the_server_keeps_the_gate_as_it_was(ledger: Ledger) -> None:
    """Closing waits for no quorum, but for the disk; prepared transactions survive a crash with their locks."""
    gid = f"order-{ledger.name}"
    with psycopg.connect(ledger.conninfo(APPLICATION), autocommit=True) as connection:
        connection.execute("begin")
        connection.execute("select shop.move('acc-1', 'acc-2', 5, 'prepared')")
        connection.execute(f"prepare transaction '{gid}'".encode())
    await ledger.gate.raise_generation("a drill", by="ann")
    ledger.cluster.end()
    ledger.cluster.start()
    assert ledger.move("acc-3", "acc-4") == "acc-3"
    (moving,) = await ledger.gate.settle(0.05)
    assert moving.prepared_as == gid
    ledger.query(f"rollback prepared '{gid}'")
    assert await Gate(ledger.admin).settle(5.0) == ()
