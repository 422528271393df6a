"""Which ledger is checked where nobody names one: the platform's here, and the journal that goes with it."""

from __future__ import annotations

from pathlib import Path

from psycopg import conninfo

from siaga.ledger.map import LedgerMap
from siaga.platform import account, gate, journal, lifecycle, secrets

AUDITOR = "wallet_auditor"
"""May read, and nothing else."""


def here() -> tuple[str, LedgerMap, Path | None]:
    """The embedded platform's ledger, and its journal where it has one."""
    layout = lifecycle.required(account.home())
    database = layout.site.transactions
    dsn = conninfo.make_conninfo(
        host="127.0.0.1",
        port=layout.ports[database.servers[0].name],
        dbname=database.database,
        user=AUDITOR,
        password=secrets.read(layout.secret("wallet-auditor")),
    )
    directory = layout.directory(journal.NAME)
    return dsn, gate.wallet_map(), directory if directory.exists() else None
