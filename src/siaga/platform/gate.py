"""The gate of the embedded platform: installed open before the wallet, and put before its ledger (DRP-3.2b)."""

from __future__ import annotations

from pathlib import Path

import wallet

from siaga.ledger import gate_install
from siaga.ledger.load import load
from siaga.ledger.map import LedgerMap
from siaga.platform import postgres
from siaga.platform.layout import Layout

ROLE = gate_install.GATE
MAP = Path(wallet.__file__).with_name("ledger.toml")


def wallet_map() -> LedgerMap:
    """The map of the wallet's ledger."""
    return load(MAP)


async def install(layout: Layout, server: str, database: str) -> None:
    """Before the wallet: its functions ask the gate from their first moment."""
    await gate_install.install(postgres.conninfo(layout, server, database), is_open=True)


async def guard(layout: Layout, server: str, database: str) -> None:
    """After the wallet: its table of entries refuses movements of closed accounts."""
    await gate_install.guard(postgres.conninfo(layout, server, database), wallet_map())


def conninfo(layout: Layout) -> str:
    """How the gate's own role reaches the transaction database."""
    database = layout.site.transactions
    return postgres.conninfo(layout, database.servers[0].name, database.database, ROLE)
