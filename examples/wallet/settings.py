"""A node's configuration: one JSON file of mode 0600; unknown keys are refused. Secrets stay in files of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from wallet.errors import BadConfiguration

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,30}$")]
Address = Annotated[str, StringConstraints(pattern=r"^[^\s:/]+:\d{1,5}$")]


class Strict(BaseModel):
    """Frozen, and unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class DatabaseSettings(Strict):
    """The way to the ledger, through the pooler."""

    host: str
    port: Annotated[int, Field(ge=1, le=65535)]
    name: str
    user: str
    password_file: Path
    sslmode: Literal["disable", "require", "verify-full"] = "disable"
    """Of the way to the pooler; "prefer" is not offered: it protects nothing and costs a round trip."""
    deadline_ms: Annotated[int, Field(ge=10, le=5000)] = 150
    """Below the edge's per-try time-out (decision 23), so that the outage answer still arrives."""
    pool_max: Annotated[int, Field(ge=1, le=200)] = 16
    """Connections kept open; at least requests/s times the seconds one takes, region loss included."""


class SessionsSettings(Strict):
    """The way to the session cluster."""

    servers: Annotated[tuple[Address, ...], Field(min_length=1)]
    user: str | None = None
    password_file: Path | None = None
    ttl_s: Annotated[int, Field(ge=60)] = 43_200
    deadline_ms: Annotated[int, Field(ge=5, le=1000)] = 40
    """Of one try at one server; a look-up makes at most two tries, a log-in three."""


class ClaimSettings(Strict):
    """The signed claim that lets reads outlive the session store for a moment."""

    key_file: Path
    ttl_s: Annotated[int, Field(ge=2, le=60)] = 60


class Settings(Strict):
    """One node."""

    node: Name
    region: Name
    listen: Address
    database: DatabaseSettings
    sessions: SessionsSettings
    claim: ClaimSettings
    scrypt_log2n: Annotated[int, Field(ge=8, le=20)] = 14


def load_settings(path: Path) -> Settings:
    """Read a node's configuration; BadConfiguration names every field that is wrong."""
    text = _private_text(path)
    try:
        return Settings.model_validate_json(text)
    except ValidationError as error:
        wrong = [f"{path}: {'.'.join(map(str, e['loc'])) or 'file'}: {e['msg'].lower()}" for e in error.errors()]
        raise BadConfiguration("\n".join(wrong), hint="docs/conventions.md lists every field") from None


def load_secret(path: Path) -> str:
    """The first line of a file that only its owner can read."""
    secret = _private_text(path).strip()
    if not secret:
        raise BadConfiguration(f"{path}: empty, expected a secret", hint="write the secret on the first line")
    return secret.splitlines()[0]


def load_claim_keys(path: Path) -> dict[str, bytes]:
    """Claim keys by id, one `ID HEX` a line: the first signs, all verify, so a key is replaced without a pause."""
    keys: dict[str, bytes] = {}
    for number, line in enumerate(_private_text(path).splitlines(), 1):
        identifier, _, key = line.strip().partition(" ")
        try:
            keys[identifier] = bytes.fromhex(key)
        except ValueError:
            keys[identifier] = b""
        if not identifier or "." in identifier or len(keys[identifier]) < 32:
            raise BadConfiguration(
                f"{path}: line {number} is no claim key, expected `ID HEX` with at least 32 bytes",
                hint="python -c \"import secrets; print('k1', secrets.token_hex(32))\"",
            )
    if not keys:
        raise BadConfiguration(f"{path}: no claim key, expected at least one", hint="all nodes share this file")
    return keys


def _private_text(path: Path) -> str:
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise BadConfiguration(f"{path}: cannot be read ({reason})", hint="check path and owner") from None
    if mode & 0o077:
        raise BadConfiguration(
            f"{path}: mode {mode & 0o777:04o}, expected 0600 (it is or names a secret)", hint=f"chmod 600 {path}"
        )
    return text
