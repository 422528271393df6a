"""The platform's own journal: a part under the keeper, beside the wallet's ledger, with or without a controller."""

from __future__ import annotations

import json
import os
import secrets
import signal

import psycopg
import pytest
from platform_under_test import Platform, eventually

from siaga.journal import segments

pytestmark = pytest.mark.clause("DRP-3.2b")


def _deposit(platform: Platform) -> None:
    """One movement, as a node makes it."""
    password = (platform.home / "secrets/wallet-app").read_text().strip()
    port = json.loads((platform.home / "platform.json").read_text())["ports"]["pgbouncer"]
    dsn = f"host=127.0.0.1 port={port} dbname=wallet"
    with psycopg.connect(dsn, user="wallet_app", password=password, autocommit=True, prepare_threshold=None) as wallet:
        row = wallet.execute("select account from wallet.register(%s, 'x')", (secrets.token_hex(8),)).fetchone()
        assert row is not None
        move = "select outcome from wallet.move(%s, 'deposit', %s, null, 100)"
        assert wallet.execute(move, (secrets.token_hex(8), row[0])).fetchone() == ("done",)


def _entries(platform: Platform) -> int:
    return sum(log.entries for log in segments.load(platform.home / "journal").summaries)


def test_the_platforms_journal_follows_the_wallet_and_is_in_its_status(platform: Platform) -> None:
    before = _entries(platform)
    _deposit(platform)
    eventually(lambda: _entries(platform) >= before + 2, "the journal holds both entries")
    assert platform.siaga("journal", "show", "--json").document["entries"] >= before + 2
    said = platform.status()["journal"]
    assert (said["state"], said["gaps"]) == ("streaming", [])
    assert said["slot_wal_bytes_left"] > 0
    compared = platform.siaga("journal", "compare", "--json")
    assert compared.code == 0, compared.stderr
    assert platform.siaga("journal", "verify", "--json").document["faults"] == []


def test_the_journal_goes_on_while_the_controller_hangs_and_comes_back_when_it_is_killed(platform: Platform) -> None:
    pids = platform.pids()
    controller, journal = pids["controller"], pids["journal"]
    assert controller is not None
    assert journal is not None
    os.kill(controller, signal.SIGSTOP)
    try:
        before = _entries(platform)
        os.kill(journal, signal.SIGKILL)
        _deposit(platform)
        eventually(lambda: _entries(platform) >= before + 2, "the journal is back and holds both entries")
    finally:
        os.kill(controller, signal.SIGCONT)


def test_the_journals_role_can_change_nothing(platform: Platform) -> None:
    password = (platform.home / "secrets/postgres-journal").read_text().strip()
    address = platform.part("transactions-1")["address"]
    host, _, port = address.rpartition(":")
    with psycopg.connect(
        host=host, port=port, user="siaga_journal", password=password, dbname="wallet", autocommit=True
    ) as connection:
        for forbidden in (
            "insert into wallet.entries values (1, 1, 1, 1, 1, now())",
            "update wallet.accounts set balance = 0",
            "select * from wallet.users",
            "create table mine (x int)",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(forbidden.encode())
