"""What the fence's integration tests talk to: one real PostgreSQL, and a database of its own for each test."""

from __future__ import annotations

import asyncio
import secrets
import signal
from dataclasses import dataclass
from typing import Any

import psycopg
from wallet_servers import Server, wait_until

from siaga.ledger.gate import Gate
from siaga.ledger.gate_install import GATE, REPLAY, guard, install
from siaga.ledger.map import LedgerMap
from siaga.ledger.proof import Proof, proof

APPLICATION = "shop_app"
MAP = LedgerMap.model_validate(
    {
        "accounts": {"table": "shop.accounts", "id": "id", "balance": "balance"},
        "entries": {"table": "shop.entries", "account": "account", "amount": "amount", "transaction": "movement"},
        "system_accounts": {"where": "kind like 'sys%'"},
    }
)
"""A ledger that is not the wallet: ids are text, the application asks the gate or forgets to."""
LEDGER = """
    create schema shop;
    create table shop.accounts
        (id text primary key, kind text not null default 'user', balance bigint not null default 0);
    create table shop.entries (account text not null, amount bigint not null, movement text not null);
    create function shop.move(payer text, payee text, amount bigint, movement text) returns text language plpgsql as $$
    declare v_closed text := siaga.closed_account(payer, payee);
    begin
        if v_closed is null then
            insert into shop.entries values (payer, -amount, movement), (payee, amount, movement);
        end if;
        return v_closed;
    end $$;
"""
FRESH = """
    truncate shop.accounts, shop.entries, siaga.gate, siaga.gate_exceptions, siaga.gate_passes, siaga.gate_history;
    insert into shop.accounts (id, kind) select 'acc-' || n, case n when 0 then 'system' else 'user' end
        from generate_series(0, 9) n;
    insert into siaga.gate (generation, is_open, scope_wanted, reason, raised_by)
        values (1, true, 'journal', 'the gate was installed', 'nobody');
"""
ROLES = f"""
    grant usage on schema shop, siaga to {APPLICATION}, {REPLAY};
    grant select, insert, update, delete on all tables in schema shop to {APPLICATION}, {REPLAY};
    grant execute on function siaga.closed_account(text[]), siaga.account_gate(text) to {APPLICATION}, {REPLAY};
"""


TEMPLATES = {"shop_guarded": True, "shop_forgetful": False}


@dataclass(frozen=True)
class Cluster:
    """A PostgreSQL server."""

    server: Server
    superuser: str

    def conninfo(self, database: str = "postgres", role: str = "") -> str:
        """How a role reaches a database; the server trusts everybody."""
        return f"host=127.0.0.1 port={self.server.port} user={role or self.superuser} dbname={database}"

    def start(self) -> None:
        """Start and wait until it lets us in."""
        self.server.start()
        wait_until(self._lets_in, f"{self.server.name} accepts connections", 30)

    def _lets_in(self) -> bool:
        try:
            with psycopg.connect(self.conninfo()):
                return True
        except psycopg.OperationalError:
            return False

    def prepare(self) -> None:
        """Two templates of a ledger, with and without the gate's trigger; roles that exist are left as they are."""
        with psycopg.connect(self.conninfo(), autocommit=True) as connection:
            for role in (APPLICATION, GATE, REPLAY):
                connection.execute(f"create role {role} login")
        for template, trigger in TEMPLATES.items():
            ledger = self._create(template, "template1")
            asyncio.run(install(ledger.admin, is_open=True))
            ledger.query(LEDGER)
            ledger.query(ROLES)
            asyncio.run(guard(ledger.admin, MAP, trigger=trigger))
            ledger.query(FRESH)

    def ledger(self, *, trigger: bool = True) -> Ledger:
        """A fresh database with a ledger and its gate, open."""
        template = next(name for name, has_trigger in TEMPLATES.items() if has_trigger is trigger)
        return self._create(f"shop_{secrets.token_hex(4)}", template)

    def _create(self, name: str, template: str) -> Ledger:
        with psycopg.connect(self.conninfo(), autocommit=True) as connection:
            connection.execute(f"create database {name} template {template}")
        return Ledger(self, name)

    def end(self) -> None:
        """At once: the data is of no further use."""
        process = self.server.process
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGQUIT)
            process.wait(20)


@dataclass(frozen=True)
class Ledger:
    """One database."""

    cluster: Cluster
    name: str

    @property
    def admin(self) -> str:
        """Conninfo of the superuser."""
        return self.cluster.conninfo(self.name)

    def conninfo(self, role: str) -> str:
        """Conninfo of another role."""
        return self.cluster.conninfo(self.name, role)

    @property
    def gate(self) -> Gate:
        """The gate, as its own role sees it."""
        return Gate(self.conninfo(GATE))

    def query(self, statement: str, *parameters: object, role: str = "") -> list[tuple[Any, ...]]:
        """Ask, by default as superuser."""
        with psycopg.connect(self.conninfo(role or self.cluster.superuser), autocommit=True) as connection:
            cursor = connection.execute(statement.encode(), parameters or None)
            return cursor.fetchall() if cursor.description else []

    def move(self, payer: str = "acc-1", payee: str = "acc-2", role: str = APPLICATION) -> str | None:
        """One movement as the application makes it; the account that is closed, if one is."""
        ((closed,),) = self.query("select shop.move(%s, %s, 5, %s)", payer, payee, secrets.token_hex(4), role=role)
        assert closed is None or isinstance(closed, str)
        return closed

    def document(self, **fields: Any) -> dict[str, Any]:
        """What a check of this moment would say, with some fields different."""
        ((system, timeline, database, lsn, snapshot, accounts),) = self.query(
            "select (select system_identifier::text from pg_control_system()),"
            " ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::integer, current_database()::text,"
            " pg_current_wal_insert_lsn()::text, pg_current_snapshot()::text, (select count(*) from shop.accounts)"
        )
        source = {"system_id": system, "timeline": timeline, "database": database}
        verified = {"verdict": "verified", "scope": "journal", "grade": "full", "accounts": accounts, "listed": True}
        verified["verified"] = accounts - len(fields.get("mismatched", ())) - len(fields.get("tainted", ()))
        where = {"lsn": lsn, "snapshot": snapshot, "source": source, "map_digest": MAP.digest()}
        return verified | where | {"mismatched": [], "tainted": []} | fields

    def proof(self, **fields: Any) -> Proof:
        """What the report of a check of this moment proves."""
        return proof(self.document(**fields))

    async def raised(self, **fields: Any) -> int:
        """Close every account, settled."""
        raised = await self.gate.raise_generation("a drill", by="ann", **fields)
        assert await self.gate.settle(10.0) == ()
        return raised.generation
