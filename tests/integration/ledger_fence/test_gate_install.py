"""Installing the gate, and who may do what with it."""

from __future__ import annotations

import asyncio

import psycopg
import pytest
from fence_server import APPLICATION, MAP, Cluster, Ledger

from siaga.errors import BadInput, Refused, Unreachable
from siaga.ledger.gate import Gate
from siaga.ledger.gate_install import GATE, REPLAY, guard, install
from siaga.ledger.map import LedgerMap


async def test_installing_again_changes_nothing_and_never_opens_a_closed_gate(ledger: Ledger) -> None:
    await ledger.raised()
    before = ledger.query("select * from siaga.gate")
    await asyncio.gather(*(install(ledger.admin, is_open=True) for _ in range(3)))
    await guard(ledger.admin, MAP)
    assert ledger.query("select * from siaga.gate") == before
    assert ledger.move() == "acc-1"


async def test_a_gate_of_a_newer_version_is_left_alone(cluster: Cluster) -> None:
    ledger = cluster.ledger()
    newer = "create or replace function siaga.gate_version() returns integer language sql immutable return 99"
    ledger.query(newer)
    with pytest.raises(Refused, match="version 99"):
        await install(ledger.admin, is_open=True)
    assert ledger.query("select siaga.gate_version()") == [(99,)]


@pytest.mark.parametrize(
    ("role", "statement"),
    [
        (APPLICATION, "select * from siaga.gate"),
        (APPLICATION, "update siaga.gate set is_open = true"),
        (APPLICATION, "insert into siaga.gate_exceptions values (1, 'acc-1', true, 'me')"),
        (APPLICATION, "delete from siaga.gate_passes"),
        (APPLICATION, "select siaga.note_all_open()"),
        (APPLICATION, "select siaga.all_open()"),
        (APPLICATION, "select setval('siaga.gate_open_since', 1)"),
        (APPLICATION, "select nextval('siaga.gate_open_since')"),
        (APPLICATION, "create or replace function siaga.closed_account(variadic a text[]) returns text return null"),
        (APPLICATION, "alter table shop.entries disable trigger all"),
        (APPLICATION, "set session_replication_role = replica"),
        (REPLAY, "update siaga.gate set is_open = true"),
        (GATE, "update shop.accounts set balance = 5"),
        (GATE, "insert into shop.entries values ('acc-1', 5, 'm')"),
        (GATE, "select amount from shop.entries"),
        (GATE, "delete from siaga.gate_history"),
        (GATE, "update siaga.gate_history set reason = ''"),
        (GATE, "update siaga.gate_ledger set map = '{}'"),
        (GATE, "delete from siaga.gate"),
        (GATE, "drop function siaga.closed_account(text[])"),
    ],
)
def test_nobody_may_do_more_than_its_part(ledger: Ledger, role: str, statement: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        ledger.query(statement, role=role)


async def test_a_role_that_may_not_change_the_gate_is_told_who_may(ledger: Ledger) -> None:
    with pytest.raises(Refused, match="this role may not do that") as refused:
        await Gate(ledger.conninfo(APPLICATION)).raise_generation("a drill", by="ann")
    assert "siaga_gate" in refused.value.hint
    with pytest.raises(Refused, match="this role may not do that"):
        await install(ledger.conninfo(GATE), is_open=True)


async def test_an_installation_that_finds_nobody_changes_nothing() -> None:
    with pytest.raises(Unreachable):
        await install("host=127.0.0.1 port=9 dbname=x", is_open=True)


def test_a_stranger_may_not_even_ask(ledger: Ledger) -> None:
    ledger.query("drop role if exists stranger; create role stranger login")
    for statement in ("select siaga.closed_account('acc-1')", "select siaga.account_gate('acc-1')"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            ledger.query(statement, role="stranger")


def test_a_raised_gate_without_a_verdict_can_not_be_marked_open(ledger: Ledger) -> None:
    ledger.query("update siaga.gate set generation = 2, is_open = false")
    with pytest.raises(psycopg.errors.CheckViolation):
        ledger.query("update siaga.gate set is_open = true", role=GATE)
    with pytest.raises(psycopg.errors.CheckViolation):
        ledger.query(
            "insert into siaga.gate_exceptions (generation, account, is_open, why, changed_by)"
            " values (2, 'acc-1', true, 'because', 'me')",
            role=GATE,
        )


@pytest.mark.parametrize(
    ("entries", "why"),
    [
        ({"table": "shop.nothing"}, "no table `shop.nothing`"),
        ({"account": "who"}, "who"),
        ({"transaction": "which"}, "which"),
        ({"table": "shop.seen"}, "no trigger can guard it"),
    ],
)
async def test_a_map_that_does_not_fit_is_named_and_nothing_is_changed(
    ledger: Ledger, entries: dict[str, str], why: str
) -> None:
    ledger.query("create or replace view shop.seen as select * from shop.entries")
    wrong = MAP.model_dump(exclude_none=True)
    wrong["entries"] |= entries
    before = ledger.query("select map from siaga.gate_ledger")
    with pytest.raises(BadInput, match=why):
        await guard(ledger.admin, LedgerMap.model_validate(wrong))
    assert ledger.query("select map from siaga.gate_ledger") == before


async def test_without_the_trigger_a_view_will_do_and_then_no_verdict_can_be_bound(cluster: Cluster) -> None:
    ledger = cluster.ledger(trigger=False)
    ledger.query("create view shop.seen as select * from shop.entries")
    wide = MAP.model_dump(exclude_none=True)
    wide["entries"] |= {"table": "shop.seen"}
    seen = LedgerMap.model_validate(wide)
    await guard(ledger.admin, seen, trigger=False)
    await ledger.raised()
    with pytest.raises(Refused, match="cannot tell whether"):
        await ledger.gate.release(ledger.proof(map_digest=seen.digest()), by="ann")
    assert await ledger.gate.movements() is None


async def test_another_map_moves_the_trigger_and_none_takes_it_away(cluster: Cluster) -> None:
    ledger = cluster.ledger()
    ledger.query('create table shop."Other" (who text, amount bigint)')
    triggers = "select tgrelid::regclass::text, tgenabled::text from pg_trigger where tgname = 'siaga_refuse_movements'"
    assert ledger.query(triggers) == [("shop.entries", "O")]
    other = LedgerMap.model_validate(
        {
            "accounts": {"table": "shop.accounts", "id": "id", "balance": "balance"},
            "entries": {"table": 'shop."Other"', "account": "who", "amount": "amount"},
        }
    )
    await guard(ledger.admin, other)
    assert ledger.query(triggers) == [('shop."Other"', "O")]
    await ledger.raised()
    with pytest.raises(psycopg.Error, match="is being verified"):
        ledger.query("insert into shop.\"Other\" values ('acc-1', 5)")
    ledger.query('alter table shop."Other" disable trigger all')
    await guard(ledger.admin, other)
    assert ledger.query(triggers) == [('shop."Other"', "O")]
    await guard(ledger.admin, other, trigger=False)
    assert ledger.query(triggers) == []
