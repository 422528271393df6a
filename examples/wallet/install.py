"""Installs the ledger's schema and roles, as often as you like. Passwords never travel: only SCRAM verifiers do."""

from __future__ import annotations

import base64
import hashlib
import hmac
from pathlib import Path

import psycopg
from psycopg import sql

from wallet.errors import BadConfiguration

SCHEMA = Path(__file__).with_name("schema.sql")
PASSWORD_LENGTH_MIN = 24
SCRAM_ITERATIONS = 256
"""Iterations slow down guessing of words people choose; these passwords are machine-made. With the default of 4096 a
node spends 4.6 ms of its event loop on each connection it opens (measured), and all nodes reopen theirs at once."""
INSTALL_LOCK = 0x77616C6C6574
"""Advisory lock: two installers at once take turns."""

GATE_ACCESS = """
    do $$ begin
        if to_regnamespace('siaga') is not null then
            grant usage on schema siaga to wallet_owner, wallet_app;
            grant execute on function siaga.closed_account(text[]) to wallet_owner;
            grant execute on function siaga.account_gate(text) to wallet_app;
        end if;
    end $$
"""
"""Siaga's gate (DRP-3.2b): `move` asks it, a balance shows it. A database without it moves no money."""


async def install(admin_conninfo: str, *, app_password: str, auditor_password: str) -> None:
    """Bring schema, functions, privileges and roles to the state of this version; passwords are machine-made."""
    for password in (app_password, auditor_password):
        if len(password) < PASSWORD_LENGTH_MIN:
            raise BadConfiguration(
                f"a password of {len(password)} characters, expected at least {PASSWORD_LENGTH_MIN}, machine-made",
                hint='python -c "import secrets; print(secrets.token_urlsafe(32))"',
            )
    async with await psycopg.AsyncConnection.connect(admin_conninfo) as connection:
        await connection.execute("select pg_advisory_xact_lock(%s)", (INSTALL_LOCK,))
        # The verifier is no password, but it has no business in a statement log either.
        await connection.execute("set local log_statement = 'none'")
        await connection.execute("set local log_min_duration_statement = -1")
        await connection.execute("set local log_min_error_statement = 'panic'")
        await connection.execute(sql.SQL("set local scram_iterations = {}").format(SCRAM_ITERATIONS))
        await _role(connection, "wallet_owner", None)
        await _role(connection, "wallet_app", app_password)
        await _role(connection, "wallet_auditor", auditor_password)
        await connection.execute("alter role wallet_auditor set default_transaction_read_only = on")
        # Frees what a node abandoned at its deadline while it waited for a lock. It never interrupts a commit that
        # waits for the quorum: PostgreSQL disarms the timer before it commits (postgres.c, finish_xact_command).
        await connection.execute("alter role wallet_app set statement_timeout = '2s'")
        await connection.execute("create schema if not exists wallet authorization wallet_owner")
        await connection.execute(GATE_ACCESS)
        await connection.execute("set local role wallet_owner")
        await connection.execute(SCHEMA.read_bytes())


async def _role(connection: psycopg.AsyncConnection, name: str, password: str | None) -> None:
    cursor = await connection.execute("select rolpassword from pg_authid where rolname = %s", (name,))
    found = await cursor.fetchone()
    role = sql.Identifier(name)
    if found is None:
        await connection.execute(sql.SQL("create role {} nologin").format(role))
    if password is None:
        return
    stored = found[0] if found else None
    # A pooler that passes SCRAM through holds a copy of the verifier: keep it while the password is the same.
    if not (stored and verifies(stored, password)):
        verifier = connection.pgconn.encrypt_password(password.encode(), name.encode(), b"scram-sha-256").decode()
        await connection.execute(sql.SQL("alter role {} password {}").format(role, sql.Literal(verifier)))
    if found is None:
        await connection.execute(sql.SQL("alter role {} login").format(role))


def verifies(verifier: str, password: str) -> bool:
    """Whether a PostgreSQL SCRAM verifier was made from this password (RFC 5803)."""
    try:
        method, parameters, keys = verifier.split("$")
        iterations, salt = parameters.split(":")
        stored_key = base64.b64decode(keys.split(":")[0], validate=True)
        raw_salt = base64.b64decode(salt, validate=True)
        salted = hashlib.pbkdf2_hmac("sha256", password.encode(), raw_salt, int(iterations))
    except ValueError:
        return False
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    return method == "SCRAM-SHA-256" and hmac.compare_digest(hashlib.sha256(client_key).digest(), stored_key)
