"""Opening: what a report opens, what stays closed with its entries, and what no report opens."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg
import pytest
from fence_server import APPLICATION, Ledger

from siaga.errors import BadInput, Refused, Unreachable
from siaga.ledger.fence import SystemPolicy
from siaga.ledger.gate import Gate
from siaga.ledger.gate_install import REPLAY
from siaga.ledger.model import Scope

ENTRY = {"fault": "altered", "why": "amount", "sequence": 4, "found": "7", "expected": "5"}


def bad(account: str, *entries: Any) -> dict[str, Any]:
    """A mismatch of the report."""
    return {"account": account, "difference": "-500", "failed_checks": ["balance", "journal"], "entries": list(entries)}


@pytest.mark.clause("DRP-3.2b")
async def test_the_verified_open_at_once_and_the_others_stay_closed_with_their_entries(ledger: Ledger) -> None:
    await ledger.raised()
    tainted = {"account": "acc-2", "transactions": ["m-7"]}
    report = ledger.proof(verdict="mismatch", mismatched=[bad("acc-1", ENTRY)], tainted=[tainted])
    released = await ledger.gate.release(report, by="ann")
    assert "8 of 10 accounts verified" in released.decision.reason
    assert (released.standing.is_open, released.standing.closed_count) == (True, 2)
    assert released.standing.verdict_lsn == report.lsn
    assert ledger.move("acc-3", "acc-4") is None
    assert (ledger.move("acc-1", "acc-4"), ledger.move("acc-4", "acc-2")) == ("acc-1", "acc-2")
    first = await ledger.gate.account("acc-1")
    assert (first.is_open, first.why) == (False, "mismatch: balance, journal, off by -500")
    assert (first.entries, first.verdict_lsn, first.verdict_digest) == ([ENTRY], report.lsn, report.digest)
    open_one = await ledger.gate.account("acc-3")
    assert (open_one.is_open, open_one.verdict_lsn, open_one.verdict_digest) == (True, report.lsn, report.digest)
    assert [state.account for state in await ledger.gate.closed(10)] == ["acc-1", "acc-2"]
    acts = ledger.query("select changed_by, act, figures ->> 'digest' from siaga.gate_history order by changed_at")
    assert acts[-1] == ("ann", "released", report.digest)


@pytest.mark.clause("DRP-3.2b")
async def test_a_repaired_account_opens_by_a_later_report_and_a_newly_bad_one_closes(ledger: Ledger) -> None:
    await ledger.raised()
    first = ledger.proof(verdict="mismatch", mismatched=[bad("acc-1", ENTRY)])
    await ledger.gate.release(first, by="ann")
    assert ledger.move("acc-3", "acc-4") is None
    await ledger.gate.release(ledger.proof(verdict="mismatch", mismatched=[bad("acc-3")]), by="ann")
    assert (ledger.move("acc-1", "acc-4"), ledger.move("acc-3", "acc-4")) == (None, "acc-3")
    with pytest.raises(Refused, match="a newer report"):
        await ledger.gate.release(first, by="ann")


@pytest.mark.clause("DRP-3.2b")
@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"verdict": "incomplete"}, "incomplete"),
        ({"listed": False}, "does not name every account"),
        ({"scope": "internal"}, "asks for the journal"),
        ({"grade": "tail"}, "of grade `tail`"),
        ({"grade": "sums"}, "of grade `sums`"),
        ({"map_digest": "0" * 64}, "another map"),
        ({"source": {"system_id": "1", "timeline": 1, "database": "shop"}}, "on system 1"),
    ],
)
async def test_a_report_that_proves_too_little_opens_nothing(ledger: Ledger, fields: dict[str, Any], why: str) -> None:
    await ledger.raised()
    for account in (None, "acc-1"):
        with pytest.raises(Refused, match=why):
            report = ledger.proof(**fields)
            await (
                ledger.gate.release_accounts(report, [account], by="ann")
                if account
                else ledger.gate.release(report, by="ann")
            )
    assert ledger.move() == "acc-1"


async def test_after_a_crash_the_ledgers_own_log_is_enough_where_the_fence_was_raised_so(ledger: Ledger) -> None:
    await ledger.raised(scope=Scope.INTERNAL)
    await ledger.gate.release(ledger.proof(scope="internal", grade="tail"), by="ann")
    assert ledger.move() is None


@pytest.mark.clause("DRP-3.2b")
async def test_a_report_of_another_timeline_or_of_an_older_generation_opens_nothing(ledger: Ledger) -> None:
    await ledger.raised()
    document = ledger.document()
    document["source"]["timeline"] = 7
    with pytest.raises(Refused, match="of timeline 7"):
        await ledger.gate.release(ledger.proof(**document), by="ann")
    old = ledger.proof()
    await ledger.raised()
    with pytest.raises(Refused, match="older than generation 3, raised by ann: a drill"):
        await ledger.gate.release(old, by="ann")
    assert ledger.move() == "acc-1"


@pytest.mark.clause("DRP-3.2b")
async def test_an_entry_written_after_the_verdict_keeps_its_account_closed_until_it_is_covered(
    forgetful: Ledger,
) -> None:
    """Without the trigger an application that forgets to ask can write; the table itself tells."""
    forgetful.move("acc-5", "acc-6")
    await forgetful.raised()
    report = forgetful.proof()
    forgetful.query("insert into shop.entries values ('acc-1', 5, 'forgot'), ('acc-2', -5, 'forgot')", role=APPLICATION)
    with psycopg.connect(forgetful.admin) as connection:
        connection.execute("insert into shop.entries values ('acc-7', 5, 'undone')")
        connection.rollback()
    released = await forgetful.gate.release(report, by="ann")
    assert sorted(released.decision.closed) == ["acc-1", "acc-2"]
    assert "written after the verdict" in (await forgetful.gate.account("acc-1")).why
    with pytest.raises(Refused, match="written after the verdict"):
        await forgetful.gate.release_accounts(report, ["acc-2"], by="ann")
    assert forgetful.move("acc-5", "acc-6") is None
    await forgetful.gate.release(forgetful.proof(), by="ann")
    assert forgetful.move("acc-1", "acc-2") is None


@pytest.mark.clause("DRP-3.2b")
async def test_a_lost_transaction_given_back_voids_the_verdict_of_its_accounts(ledger: Ledger) -> None:
    await ledger.raised()
    report = ledger.proof()
    assert ledger.move("acc-1", "acc-2", role=APPLICATION) == "acc-1"
    assert ledger.move("acc-1", "acc-2", role=REPLAY) is None
    assert ledger.query("select count(*) from shop.entries") == [(2,)]
    released = await ledger.gate.release(report, by="ann")
    assert sorted(released.decision.closed) == ["acc-1", "acc-2"]
    await ledger.gate.release(ledger.proof(), by="ann")
    assert ledger.move("acc-1", "acc-2") is None


@pytest.mark.clause("DRP-3.2b")
async def test_two_releases_at_once_leave_the_gate_as_one_of_them_after_the_other(ledger: Ledger) -> None:
    await ledger.raised()
    older = ledger.proof(verdict="mismatch", mismatched=[bad("acc-1"), bad("acc-2")])
    ledger.query("select pg_current_xact_id()")
    newer = ledger.proof(verdict="mismatch", mismatched=[bad("acc-2")])
    for _ in range(5):
        ledger.query("delete from siaga.gate_exceptions; update siaga.gate set is_open = false, closed_count = 0")
        ledger.query("update siaga.gate set verdict_lsn = null, verdict_system = null, verdict_digest = null")
        both = await asyncio.gather(
            ledger.gate.release(older, by="ann"), ledger.gate.release(newer, by="bob"), return_exceptions=True
        )
        assert not isinstance(both[1], BaseException)
        assert both[0] is not both[1]
        assert not isinstance(both[0], BaseException) or "a newer report" in str(both[0])
        assert [state.account for state in await ledger.gate.closed(10)] == ["acc-2"]
        assert (await ledger.gate.standing()).closed_count == 1


@pytest.mark.clause("DRP-3.2b")
async def test_a_release_that_dies_half_way_opened_nothing(ledger: Ledger) -> None:
    await ledger.raised()
    with psycopg.connect(ledger.admin) as holding:
        holding.execute("lock table siaga.gate_exceptions in exclusive mode")
        releasing = asyncio.create_task(
            ledger.gate.release(ledger.proof(verdict="mismatch", mismatched=[bad("acc-1")]), by="ann")
        )
        waiting = "select pid from pg_stat_activity where application_name = 'siaga gate' and wait_event_type = 'Lock'"
        while not (pids := ledger.query(waiting)):
            assert not releasing.done()
            await asyncio.sleep(0.01)
        ledger.query("select pg_terminate_backend(%s)", pids[0][0])
        with pytest.raises(Unreachable):
            await releasing
    assert ledger.move("acc-3", "acc-4") == "acc-3"
    assert ledger.query("select count(*) from siaga.gate_exceptions") == [(0,)]


async def test_single_accounts_open_by_a_report_that_verifies_them_and_no_other_way(ledger: Ledger) -> None:
    await ledger.raised()
    report = ledger.proof(verdict="mismatch", mismatched=[bad("acc-1", ENTRY)])
    with pytest.raises(Refused, match=r'account acc-1 is not verified .* entries \{"expected": "5"'):
        await ledger.gate.release_accounts(report, ["acc-2", "acc-1"], by="ann")
    assert ledger.move("acc-2", "acc-3") == "acc-2"
    await ledger.gate.release_accounts(report, ["acc-2", "acc-3"], by="ann")
    assert ledger.move("acc-2", "acc-3") is None
    assert ledger.move("acc-2", "acc-4") == "acc-4"
    with pytest.raises(BadInput, match="found nobody"):
        await ledger.gate.release_accounts(report, ["nobody"], by="ann")


async def test_an_override_opens_on_record_and_a_later_report_does_not_close_it_again(ledger: Ledger) -> None:
    await ledger.raised()
    await ledger.gate.release_by_override(["acc-1"], "seen with bob", by="ann")
    assert ledger.move("acc-1", "acc-2") == "acc-2"
    released = await ledger.gate.release(ledger.proof(verdict="mismatch", mismatched=[bad("acc-1")]), by="ann")
    assert released.decision.figures["kept_open_by_override"] == ["acc-1"]
    assert ledger.move("acc-1", "acc-2") is None
    state = await ledger.gate.account("acc-1")
    assert (state.why, state.verdict_lsn) == ("override by ann: seen with bob", None)
    ((by, reason),) = ledger.query("select changed_by, reason from siaga.gate_history where act like '%override'")
    assert by == "ann"
    assert "WITHOUT A VERDICT" in reason
    with pytest.raises(BadInput, match="found no reason"):
        await ledger.gate.release_by_override(["acc-2"], " ", by="ann")


async def test_a_tainted_system_account_serves_where_the_site_says_so(ledger: Ledger) -> None:
    taint = [{"account": account, "transactions": ["m-1"]} for account in ("acc-0", "acc-1")]
    for policy, closed in ((SystemPolicy.STRICT, ["acc-0", "acc-1"]), (SystemPolicy.TAINTED_MAY_SERVE, ["acc-1"])):
        await ledger.raised()
        report = ledger.proof(verdict="mismatch", tainted=taint)
        released = await ledger.gate.release(report, by="ann", policy=policy)
        assert sorted(released.decision.closed) == closed
    await ledger.raised()
    report = ledger.proof(verdict="mismatch", mismatched=[bad("acc-0")])
    released = await ledger.gate.release(report, by="ann", policy=SystemPolicy.TAINTED_MAY_SERVE)
    assert list(released.decision.closed) == ["acc-0"]


@pytest.mark.clause("DRP-3.2b")
async def test_partial_service_is_the_share_of_movements_not_of_accounts(ledger: Ledger) -> None:
    """One of ten accounts is closed, and with it eight of ten movements."""
    assert await ledger.gate.movements() == type(await ledger.gate.movements())(0, 0)
    for _ in range(8):
        ledger.move("acc-0", "acc-1")
    for _ in range(2):
        ledger.move("acc-2", "acc-3")
    await ledger.raised()
    closed = await ledger.gate.movements()
    assert closed is not None
    assert (closed.recent, closed.possible) == (10, 0)
    released = await ledger.gate.release(ledger.proof(verdict="mismatch", mismatched=[bad("acc-0")]), by="ann")
    assert released.movements is not None
    assert (released.movements.recent, released.movements.possible, released.movements.share) == (10, 2, 0.2)


async def test_a_dry_run_says_what_would_open_and_opens_nothing(ledger: Ledger) -> None:
    await ledger.raised()
    report = ledger.proof(verdict="mismatch", mismatched=[bad("acc-1")])
    would = await ledger.gate.release(report, by="ann", dry_run=True)
    assert (would.standing.is_open, would.standing.closed_count) == (True, 1)
    await ledger.gate.release_accounts(report, ["acc-2"], by="ann", dry_run=True)
    await ledger.gate.release_by_override(["acc-2"], "just looking", by="ann", dry_run=True)
    assert ledger.move("acc-3", "acc-4") == "acc-3"
    assert ledger.query("select count(*) from siaga.gate_exceptions") == [(0,)]
    assert ledger.query("select count(*) from siaga.gate_history where act <> 'raised'") == [(0,)]


async def test_a_snapshot_that_is_none_is_named(ledger: Ledger) -> None:
    await ledger.raised()
    with pytest.raises(BadInput, match="report: "):
        await ledger.gate.release(ledger.proof(snapshot="9:3:"), by="ann")


async def test_a_database_that_does_not_answer_is_unreachable_and_tells_no_password() -> None:
    with pytest.raises(Unreachable) as away:
        await Gate("host=127.0.0.1 port=9 user=siaga_gate password=s3cret dbname=x").standing()
    assert "s3cret" not in str(away.value)
