"""Installs the gate into a ledger's database, as often as you like, and puts it before the tables of the map."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from siaga.errors import BadInput, Refused
from siaga.ledger.gate_connection import Connection, connected
from siaga.ledger.map import LedgerMap
from siaga.ledger.source import first_line

GATE = "siaga_gate"
"""May change the gate; reads of the ledger what its figures need, and nothing else."""
REPLAY = "siaga_replay"
"""Its movements pass a closed gate and are noted: the role that gives lost transactions back before the check."""
OWNER = "siaga_gate_owner"
SCHEMA = Path(__file__).with_name("gate.sql")
VERSION = 1
"""Of `gate.sql`; a database with a newer one is left alone."""
TRIGGER = "siaga_refuse_movements"
INSTALL_LOCK = int.from_bytes(b"gate", "big")
"""Advisory lock: two installers at once take turns."""

_PRIVILEGES = """
    revoke all on schema siaga from public;
    revoke all on all tables in schema siaga from public;
    revoke all on all functions in schema siaga from public;
    grant usage on schema siaga to siaga_gate;
    grant select, update on siaga.gate to siaga_gate;
    grant select, insert, update, delete on siaga.gate_exceptions to siaga_gate;
    grant select, delete on siaga.gate_passes to siaga_gate;
    grant select, insert on siaga.gate_history to siaga_gate;
    grant select on siaga.gate_ledger to siaga_gate;
    grant execute on function siaga.gate_version(), siaga.movements_lock(), siaga.account_gate(text),
        siaga.note_all_open() to siaga_gate;
"""


async def install(admin_conninfo: str, *, is_open: bool) -> None:
    """Bring the schema `siaga` and its roles to the state of this version; BadInput where a newer one is installed.

    `is_open` is how a gate that did not exist stands at first: open on a ledger in service, closed on one that was just
    recovered from a time before the gate. A gate that exists stays as it stands.
    """
    async with connected(admin_conninfo) as connection:
        await connection.execute("select pg_advisory_xact_lock(%s)", (INSTALL_LOCK,))
        await _check_version(connection)
        for role in (OWNER, GATE, REPLAY):
            await _create_role(connection, role)
        await connection.execute(sql.SQL("create schema if not exists siaga authorization {}").format(_name(OWNER)))
        await connection.execute(sql.SQL("set local role {}").format(_name(OWNER)))
        await connection.execute(SCHEMA.read_bytes())
        await connection.execute(_PRIVILEGES)
        await connection.execute(
            "insert into siaga.gate (generation, is_open, scope_wanted, reason, raised_by)"
            " select 1, %s, 'journal', 'the gate was installed', session_user"
            " where not exists (select from siaga.gate)",
            (is_open,),
        )


async def guard(admin_conninfo: str, ledger: LedgerMap, *, trigger: bool = True) -> None:
    """Put the gate before this ledger's tables: the gate's role may read what its figures need, and with `trigger`
    the table of entries refuses movements of a closed account even where the application forgets to ask.

    BadInput where a table or column does not exist, or where the entries are a view and can have no such trigger.
    """
    async with connected(admin_conninfo) as connection:
        await connection.execute("select pg_advisory_xact_lock(%s)", (INSTALL_LOCK,))
        entries, accounts = ledger.entries, ledger.accounts
        entries_table = await _find(connection, entries.qualified)
        await _allow_reading(connection, entries_table, _entry_columns(ledger, entries_table))
        await _allow_reading(connection, await _find(connection, accounts.qualified), _account_columns(ledger))
        if trigger and not entries_table.takes_triggers:
            raise BadInput(
                f"[entries] table = {entries.table}: not a plain or partitioned table, so no trigger can guard it",
                hint="Name the table below the view, or install without the trigger.",
            )
        await _set_trigger(connection, entries_table, entries.account, wanted=trigger)
        await connection.execute(
            "insert into siaga.gate_ledger (map) values (%s) on conflict (id) do update set map = excluded.map",
            (Jsonb(ledger.model_dump(mode="json", exclude_none=True)),),
        )
        await connection.commit()
        await connection.execute("select siaga.note_all_open()")


async def _check_version(connection: Connection) -> None:
    cursor = await connection.execute("select to_regprocedure('siaga.gate_version()') is not null")
    row = await cursor.fetchone()
    if row is None or not row[0]:
        return
    found = await (await connection.execute("select siaga.gate_version()")).fetchone()
    if found is not None and found[0] > VERSION:
        raise Refused(
            f"the gate in this database has version {found[0]}, this Siaga knows up to {VERSION}",
            hint="Use the Siaga that installed it, or a newer one.",
        )


async def _create_role(connection: Connection, role: str) -> None:
    found = await connection.execute("select from pg_roles where rolname = %s", (role,))
    if found.rowcount == 0:
        await connection.execute(sql.SQL("create role {} nologin").format(_name(role)))


@dataclass(frozen=True, slots=True)
class _Table:
    oid: int
    schema: sql.Identifier
    name: sql.Identifier
    kind: str

    @property
    def takes_triggers(self) -> bool:
        return self.kind in ("r", "p")


async def _find(connection: Connection, name: tuple[str | None, str]) -> _Table:
    cursor = await connection.execute(
        "select c.oid, n.nspname, c.relkind::text from pg_class c join pg_namespace n on n.oid = c.relnamespace"
        " where c.relname = %(table)s and n.nspname = coalesce(%(schema)s, n.nspname)"
        " and (%(schema)s::text is not null or pg_table_is_visible(c.oid)) and c.relkind in ('r', 'p', 'v', 'm', 'f')",
        {"schema": name[0], "table": name[1]},
    )
    row = await cursor.fetchone()
    if row is None:
        shown = ".".join(part for part in name if part)
        raise BadInput(f"no table `{shown}` in this database", hint="`siaga ledger map` proposes a map that fits.")
    return _Table(row[0], sql.Identifier(row[1]), sql.Identifier(row[1], name[1]), row[2])


def _entry_columns(ledger: LedgerMap, table: _Table) -> tuple[str, ...]:
    if ledger.entries.where:
        return ()
    named = (ledger.entries.account, ledger.entries.transaction, ledger.entries.time)
    # Where a row lies and who wrote it: what is recent, and what was written since a verdict.
    own = ("ctid", "xmin") if table.takes_triggers else ()
    return (*(column for column in named if column is not None), *own)


def _account_columns(ledger: LedgerMap) -> tuple[str, ...]:
    filtered = ledger.accounts.where or ledger.system_accounts.where
    return () if filtered else (ledger.accounts.id,)


async def _allow_reading(connection: Connection, table: _Table, columns: tuple[str, ...]) -> None:
    """These columns, or all of them: a filter of the map may name any."""
    names = sql.SQL(", ").join(sql.Identifier(column) for column in columns)
    which = sql.SQL("({})").format(names) if columns else sql.SQL("")
    await connection.execute(sql.SQL("grant usage on schema {} to {}").format(table.schema, _name(GATE)))
    try:
        await connection.execute(sql.SQL("grant select {} on {} to {}").format(which, table.name, _name(GATE)))
    except psycopg.errors.UndefinedColumn as error:
        raise BadInput(first_line(error), hint="`siaga ledger map` proposes a map that fits.") from None


async def _set_trigger(connection: Connection, table: _Table, account: str, *, wanted: bool) -> None:
    """A trigger as PostgreSQL enables it by default: it fires for applications, never in an apply worker, where what
    arrives was judged on the other side (decision 18).
    """
    trigger = _name(TRIGGER)
    cursor = await connection.execute(
        "select t.tgrelid, n.nspname, c.relname, t.tgenabled = 'O' from pg_trigger t"
        " join pg_class c on c.oid = t.tgrelid join pg_namespace n on n.oid = c.relnamespace"
        " where t.tgname = %s and t.tgparentid = 0",
        (TRIGGER,),
    )
    standing = await cursor.fetchall()
    for oid, schema, name, _ in standing:
        if oid != table.oid or not wanted:
            await connection.execute(sql.SQL("drop trigger {} on {}").format(trigger, sql.Identifier(schema, name)))
    if not wanted:
        return
    await connection.execute(_REFUSE.format(account=sql.Identifier(account)))
    await connection.execute(sql.SQL("alter function siaga.refuse_movements() owner to {}").format(_name(OWNER)))
    await connection.execute("revoke all on function siaga.refuse_movements() from public")
    if any(oid == table.oid and is_enabled for oid, _, _, is_enabled in standing):
        return  # setting it again would make every writer wait for every writer
    await connection.execute(
        sql.SQL(
            "create or replace trigger {} before insert or update or delete on {}"
            " for each row execute function siaga.refuse_movements()"
        ).format(trigger, table.name)
    )


# A row trigger, since only those reach every partition, those that are made later too. Without a WHEN, which would be
# planned anew for every statement.
_REFUSE = sql.SQL("""
    create or replace function siaga.refuse_movements() returns trigger
    language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
    declare
        v_closed text;
    begin
        if siaga.all_open() is not true then
            v_closed := siaga.closed_account(old.{account}::text, new.{account}::text);
            if v_closed is not null then
                raise exception 'account % is being verified: it may not move', v_closed
                    using errcode = 'SG001', hint = 'siaga ledger accounts ' || v_closed;
            end if;
        end if;
        if tg_op = 'DELETE' then
            return old;
        end if;
        return new;
    end $$
""")


def _name(role: str) -> sql.Identifier:
    return sql.Identifier(role)
