"""The embedded platform's journal: its own role, process and directory beside the transaction database (DRP-3.2b)."""

from __future__ import annotations

import json
from pathlib import Path

import psycopg
import wallet

from siaga.hosts.keeper import Spec
from siaga.hosts.model import Host
from siaga.journal import config as settings
from siaga.journal.install import prepare as publish
from siaga.ledger.gate_install import REPLAY
from siaga.ledger.load import load as load_map
from siaga.platform import postgres
from siaga.platform.engines import Engines
from siaga.platform.layout import Layout

NAME = "journal"
ROLE = settings.ROLE
MAP = Path(wallet.__file__).with_name("ledger.toml")

_REPLAY = """
select outcome from wallet.move(%(idempotency_key)s, %(kind)s,
    (case %(kind)s when 'deposit' then %(credit_account)s else %(debit_account)s end)::bigint,
    (case %(kind)s when 'transfer' then %(credit_account)s end)::bigint, %(amount)s::bigint)
"""


def config_path(layout: Layout) -> Path:
    """The consumer's configuration."""
    return layout.directory("config") / "journal.json"


def status_path(layout: Layout) -> Path:
    """Where the consumer says how it stands: beside the sockets, since its own disk may be full."""
    return layout.place.run / "journal.json"


def replay_path(layout: Layout) -> Path:
    """How lost transactions are given back."""
    return layout.directory("config") / "replay.json"


async def prepare(host: Host, layout: Layout, server: str) -> None:
    """Publish the ledger for the journal's role, and write its configuration."""
    database = layout.site.transactions.database
    login = postgres.conninfo(layout, server, database)
    async with await psycopg.AsyncConnection.connect(login, autocommit=True) as connection:
        await publish(connection, load_map(MAP), None, ROLE)
    names = [server.name for server in layout.site.transactions.servers]
    hosts, ports = ",".join("127.0.0.1" for _ in names), ",".join(str(layout.ports[name]) for name in names)
    config = {
        "directory": str(layout.directory(NAME)),
        "map": str(MAP),
        "conninfo": f"host={hosts} port={ports} dbname={database} user={ROLE}",
        "password_file": str(layout.secret("postgres-journal")),
        "failover": True,
        "status": str(status_path(layout)),
    }
    pooler, _, port = layout.address("pgbouncer").rpartition(":")
    replay = {
        "sql": {
            "statement": _REPLAY,
            "conninfo": f"host={pooler} port={port} dbname={database} user={REPLAY}",
            "password_file": str(layout.secret("postgres-replay")),
            "accepted": ["done"],
        }
    }
    for path, content in ((config_path(layout), config), (replay_path(layout), replay)):
        await host.write(str(path), json.dumps(content, indent=1).encode())


def spec(layout: Layout, engines: Engines) -> Spec:
    """How the keeper runs it: it goes on when the controller is dead."""
    return Spec(
        name=NAME,
        kind="journal",
        argv=(*engines.python, "-m", "siaga.journal.main", str(config_path(layout))),
        log=str(layout.log(NAME)),
        env=engines.python_env,
        # It finishes the batch it is at; a full log may take it a few seconds more.
        stop_grace_s=20.0,
    )
