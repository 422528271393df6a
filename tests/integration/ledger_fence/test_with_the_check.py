"""The real check and the gate together: what it reports is what opens, from the server itself or from a replica."""

from __future__ import annotations

import asyncio
import json

import pytest
from fence_server import MAP, Ledger

from siaga.errors import Refused
from siaga.ledger import check
from siaga.ledger.model import Scope
from siaga.ledger.proof import Proof, proof


def balanced(ledger: Ledger) -> None:
    """Movements between all accounts, and balances that agree with them."""
    for number in range(1, 9):
        ledger.move(f"acc-{number}", f"acc-{number + 1}")
    ledger.query(
        "update shop.accounts a set balance = e.sum from"
        " (select account, sum(amount) from shop.entries group by account) e where e.account = a.id"
    )


def checked(dsn: str) -> Proof:
    """A report as it comes out of a file."""
    return proof(json.loads(json.dumps(check(dsn, MAP).document())))


@pytest.mark.clause("DRP-3.2b")
async def test_the_accounts_at_fault_and_those_they_tainted_stay_closed(ledger: Ledger) -> None:
    balanced(ledger)
    ledger.query("update shop.accounts set balance = balance + 500 where id = 'acc-9'")
    ledger.query(
        "set session_replication_role = replica; update shop.entries set amount = amount + 7 where account = 'acc-1'"
    )
    before = await asyncio.to_thread(checked, ledger.admin)
    await ledger.raised(scope=Scope.INTERNAL)
    with pytest.raises(Refused, match="older than generation 2"):
        await ledger.gate.release(before, by="ann")
    released = await ledger.gate.release(await asyncio.to_thread(checked, ledger.admin), by="ann")
    assert sorted(released.decision.closed) == ["acc-1", "acc-2", "acc-9"]
    assert (ledger.move("acc-3", "acc-4"), ledger.move("acc-3", "acc-2")) == (None, "acc-2")
    shown = {account: await ledger.gate.account(account) for account in ("acc-1", "acc-2", "acc-9")}
    assert "balance" in shown["acc-9"].why
    assert shown["acc-1"].why.startswith("mismatch")
    assert shown["acc-2"].why.startswith("tainted")
    ledger.query(
        "set session_replication_role = replica;"
        " update shop.entries set amount = amount - 7 where account = 'acc-1' and amount <> -5;"
        " update shop.accounts a set balance = e.sum from"
        " (select account, sum(amount) from shop.entries group by account) e where e.account = a.id"
    )
    await ledger.gate.release(await asyncio.to_thread(checked, ledger.admin), by="ann")
    assert (await ledger.gate.standing()).closed_count == 0
    assert ledger.move("acc-1", "acc-9") is None


@pytest.mark.clause("DRP-3.2b")
async def test_a_ledger_checked_only_against_itself_opens_nothing_after_a_roll_back(ledger: Ledger) -> None:
    balanced(ledger)
    await ledger.raised()
    with pytest.raises(Refused, match="asks for the journal"):
        await ledger.gate.release(await asyncio.to_thread(checked, ledger.admin), by="ann")
