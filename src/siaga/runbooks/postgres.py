"""The PostgreSQL journal, for controllers that share their state. Never a database that a runbook recovers."""

from __future__ import annotations

import psycopg
import sqlalchemy as sa

from siaga.errors import BadInput

SCHEMA = "siaga_runbooks"
_CONNECT_S = 5
_STATEMENT_MS = 30_000


def create_engine(conninfo: str, application_name: str) -> sa.Engine:
    """An engine that notices a dead peer within 10 s; BadInput for what libpq can't read.

    The connection's settings bypass SQLAlchemy's URL, which it prints.
    """
    try:
        settings = psycopg.conninfo.conninfo_to_dict(conninfo)
    except psycopg.ProgrammingError:
        # The driver's own words would quote the password.
        raise BadInput(
            "the connection settings of the journal can't be read, expected libpq's form",
            hint="Check `[controller]` in the site file.",
        ) from None
    arguments = {
        "connect_timeout": _CONNECT_S,
        "keepalives_idle": 2,
        "keepalives_interval": 2,
        "keepalives_count": 3,
        "tcp_user_timeout": 10_000,
        "options": f"-c idle_in_transaction_session_timeout={_STATEMENT_MS} -c statement_timeout={_STATEMENT_MS}",
        **settings,
        "application_name": application_name,
    }
    return sa.create_engine(
        "postgresql+psycopg://",
        connect_args=arguments,
        pool_size=20,
        max_overflow=0,
        pool_pre_ping=True,
        hide_parameters=True,
    )


def passes(error: BaseException) -> bool:
    """Whether the server is gone, starting, stopping or out of resources, and may be back later."""
    if not isinstance(error, psycopg.Error):
        return False
    state = error.sqlstate or ""
    return isinstance(error, psycopg.OperationalError) and (state == "" or state[:2] in ("08", "53", "57"))
