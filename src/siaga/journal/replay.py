"""Gives lost transactions back through the application's own idempotent path, each with its original key.

One at a time, in the order they were committed. An answer that did not come ends the replay: asking again with the same
key is safe, so it is simply started again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Protocol

import httpx2
import psycopg
from psycopg.conninfo import make_conninfo
from pydantic import BaseModel, ConfigDict, Field, StrictInt, StrictStr, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from siaga.errors import BadInput, Unreachable
from siaga.journal.config import Conninfo
from siaga.journal.lost import Lost

DEADLINE_S = 10.0
_WHOLE = re.compile(r"-?\d{1,18}")


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SqlTarget(_Part):
    """A function of the application in the database."""

    statement: Annotated[StrictStr, Field(min_length=1)]
    """One statement with `%(column)s` for columns of the transaction's row; its first value is the outcome."""
    conninfo: Conninfo
    password_file: Path | None = None
    accepted: Annotated[tuple[StrictStr, ...], Field(min_length=1)]
    """Outcomes that say: it is in the ledger."""


class HttpTarget(_Part):
    """An endpoint of the application."""

    url: Annotated[StrictStr, Field(pattern=r"^https?://[^@\s]+$")]
    key_header: StrictStr = "Idempotency-Key"
    body: dict[str, StrictStr]
    """Column by field of the JSON body; what is a whole number is sent as one."""
    authorization_file: Path | None = None
    """Holds the value of the header `Authorization`."""
    accepted: Annotated[tuple[StrictInt, ...], Field(min_length=1)] = (200, 201)


class ReplayConfig(_Part):
    """Where lost transactions are given back: exactly one of the two."""

    sql: SqlTarget | None = None
    http: HttpTarget | None = None

    @model_validator(mode="after")
    def _has_one_target(self) -> ReplayConfig:
        if (self.sql is None) == (self.http is None):
            raise PydanticCustomError("target", "expected either `sql` or `http`")
        return self


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the application said."""

    done: bool
    said: str


class Target(Protocol):
    """The application's idempotent path."""

    async def give_back(self, lost: Lost) -> Outcome:
        """Ask for it again with its key; Unreachable when no answer came, and nothing is known."""
        ...

    async def close(self) -> None:
        """Leave."""
        ...


def load(path: Path) -> ReplayConfig:
    """From its JSON file; BadInput names what is wrong."""
    try:
        return ReplayConfig.model_validate_json(path.read_bytes())
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}", hint="Give the replay's configuration file.") from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "the file"
        raise BadInput(f"{path.name}: `{field}`: {first['msg']}", hint="Correct it; nothing was replayed.") from error


async def connect(config: ReplayConfig) -> Target:
    """The configured target."""
    if config.sql is not None:
        return await SqlPath.connect(config.sql)
    assert config.http is not None, "validated"
    return HttpPath(config.http)


class SqlPath:
    """Through a function in the database, each in a transaction of its own."""

    def __init__(self, target: SqlTarget, connection: psycopg.AsyncConnection[Any]) -> None:
        self._target = target
        self._connection = connection

    @classmethod
    async def connect(cls, target: SqlTarget) -> SqlPath:
        """Log in; Unreachable when nobody answers."""
        password = {"password": target.password_file.read_text().strip()} if target.password_file is not None else {}
        conninfo = make_conninfo(target.conninfo, application_name="siaga_replay", connect_timeout=5, **password)
        try:
            return cls(target, await psycopg.AsyncConnection.connect(conninfo, autocommit=True))
        except psycopg.Error as error:
            raise _silent(error) from error

    async def give_back(self, lost: Lost) -> Outcome:
        """Call the function."""
        try:
            cursor = await self._connection.execute(self._target.statement.encode(), dict(lost.request))
            row = await cursor.fetchone()
        except psycopg.OperationalError as error:
            raise _silent(error) from error
        except psycopg.Error as error:
            said = str(error).strip().splitlines()[0]
            if error.sqlstate is None:
                # It never reached the server: a column that is not journaled, or no valid placeholder.
                raise BadInput(f"the replay's statement: {said}", hint="Add it to `transactions.columns`.") from error
            return Outcome(False, said)
        said = str(row[0]) if row else "nothing"
        return Outcome(said in self._target.accepted, said)

    async def close(self) -> None:
        """Leave."""
        await self._connection.close()


class HttpPath:
    """Through an endpoint."""

    def __init__(self, target: HttpTarget) -> None:
        self._target = target
        headers = {}
        if target.authorization_file is not None:
            headers["Authorization"] = target.authorization_file.read_text().strip()
        self._client = httpx2.AsyncClient(timeout=DEADLINE_S, headers=headers)

    async def give_back(self, lost: Lost) -> Outcome:
        """Post it."""
        assert lost.key is not None, "planned with a key"
        body = {field: _json(_column(lost.request, column)) for field, column in self._target.body.items()}
        try:
            answer = await self._client.post(self._target.url, json=body, headers={self._target.key_header: lost.key})
        except httpx2.HTTPError as error:
            raise _silent(error) from error
        if answer.status_code >= 500:
            raise Unreachable(
                f"the application answered {answer.status_code}", hint="Nothing is known of this one: start it again."
            )
        return Outcome(answer.status_code in self._target.accepted, f"{answer.status_code} {answer.text[:200]}")

    async def close(self) -> None:
        """Leave."""
        await self._client.aclose()


def _column(request: Mapping[str, str | None], column: str) -> str | None:
    if column not in request:
        raise BadInput(f"the body names column `{column}`, which is not journaled", hint="Add it to the ledger map.")
    return request[column]


def _json(value: str | None) -> str | int | None:
    return int(value) if value is not None and _WHOLE.fullmatch(value) else value


def _silent(error: Exception) -> Unreachable:
    return Unreachable(
        f"no answer came: {str(error).strip() or type(error).__name__}",
        hint="Start the replay again: the same keys are asked for, and nothing is done twice.",
    )
