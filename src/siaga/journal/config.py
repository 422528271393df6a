"""How one journal is set up: a JSON file, written by the platform or by hand. No secret in it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr, ValidationError
from pydantic_core import PydanticCustomError

from siaga.errors import BadInput
from siaga.ledger.source import SECRETS

APPLICATION_NAME = "siaga_journal"
ROLE = "siaga_journal"
"""The journal's own role, where nothing else is said."""
PUBLICATIONS = ("siaga_journal_entries", "siaga_journal_transactions", "siaga_journal_marker")


def _without_secret(value: str) -> str:
    try:
        given = conninfo_to_dict(value)
    except psycopg.ProgrammingError as error:
        raise PydanticCustomError("conninfo", "expected libpq connection settings") from error
    found = next((name for name in SECRETS if given.get(name) is not None), None)
    if found is not None:
        raise PydanticCustomError("conninfo", "expected connection settings without a {name}", {"name": found})
    return value


Conninfo = Annotated[StrictStr, Field(min_length=1), AfterValidator(_without_secret)]
"""libpq's connection settings; a password comes from a file."""


class JournalConfig(BaseModel):
    """One journal of one ledger."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    directory: Path
    """Its own, best on another volume than the database's."""
    map: Path
    """The ledger map (TOML)."""
    conninfo: Conninfo
    """libpq's, of all servers that may be the primary, without a password."""
    password_file: Path | None = None
    """Where the role's password is; else libpq's own password or service file."""
    slot: Annotated[StrictStr, Field(pattern=r"^[a-z0-9_]{1,63}$")] = "siaga_journal"
    failover: StrictBool = False
    """Whether the slot follows the primary to a replica (PostgreSQL 17 and later, `sync_replication_slots`)."""
    marker: StrictStr | None = None
    """Table of the switch's marker row, `schema.table` with a whole number `n` (decision 10)."""
    log_bytes_max: Annotated[StrictInt, Field(ge=1000)] = 32 << 20
    """A log is closed beyond it: some 300,000 entries, a few minutes of a busy ledger."""
    status: Path
    """Where the consumer says every second how it stands; not on the journal's volume, which may be full."""

    def connection(self, conninfo: str | None = None) -> str:
        """Settings for a connection to whichever server is the primary now, or to the one of `conninfo`."""
        settings: dict[str, str | int] = {
            "application_name": APPLICATION_NAME,
            "target_session_attrs": "read-write",
            "connect_timeout": 5,
            # A server that vanished without a word is noticed by the kernel too.
            "tcp_user_timeout": 30_000,
        }
        if self.password_file is not None:
            settings["password"] = self.password_file.read_text().strip()
        return make_conninfo(conninfo or self.conninfo, **settings)


def load(path: Path) -> JournalConfig:
    """From its file; BadInput names what is wrong."""
    try:
        return JournalConfig.model_validate_json(path.read_bytes())
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}", hint="Give the journal's configuration file.") from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "the file"
        raise BadInput(f"{path.name}: `{field}`: {first['msg']}", hint="Correct it; nothing was started.") from error
