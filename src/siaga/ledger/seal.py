"""Sealed checkpoints: the accumulators of a ledger that was verified, with the snapshot they are of, kept elsewhere.

A seal is a directory: `accounts.parquet` (one row an account) and `seal.json`, whose HMAC covers everything. It is made
only of a verified ledger. A later check reads what came after (`tail.py`), or everything, and compares the part that
the seal covers entry for entry through its keyed digests.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from siaga.errors import BadInput
from siaga.hosts.local import write_and_rename
from siaga.ledger import fingerprint, keys
from siaga.ledger.fingerprint import Sums
from siaga.ledger.model import Position

FORMAT = 1
ACCOUNTS = "accounts.parquet"
MANIFEST = "seal.json"
_READ_BYTES = 1 << 20
_RENEW = "make a new seal with a full check (`siaga ledger check --seal DIRECTORY --key FILE`)"


@dataclass(frozen=True, slots=True)
class Seal:
    """What a seal says of itself; verified when it was read."""

    directory: Path
    position: Position
    map_digest: str
    accounts: int
    entries: int
    seen: tuple[int, ...]
    """Transactions from the snapshot's xmin on that it saw, their subtransactions too (see `tail.py`)."""
    fingerprint: Sums | None = None
    """Of the accounts; None where the ledger has none."""

    @property
    def path(self) -> Path:
        """One row an account: account, currency, opening, balance, version, count, amount_sum, ..., as text."""
        return self.directory / ACCOUNTS


def secret(path: Path, *, create: bool) -> bytes:
    """The secret in a key file; made anew where there is none and `create`, closed to others."""
    try:
        content = path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        if not create:
            raise BadInput(f"{path}: no such key file", hint="give the one that the seal was made with") from None
        content = secrets.token_hex(keys.SECRET_DIGITS // 2)
        _make(path, content)
    except (OSError, ValueError) as error:
        raise BadInput(f"{path}: not readable as a key file", hint="expected 64 hexadecimal digits") from error
    if path.stat().st_mode & 0o077:
        raise BadInput(f"{path}: others may read it, expected mode 0600", hint=f"chmod 600 {path}")
    try:
        found = bytes.fromhex(content)
    except ValueError:
        found = b""
    if len(content) != keys.SECRET_DIGITS or not found:
        raise BadInput(
            f"{path}: {len(content)} characters, expected 64 hexadecimal digits", hint="openssl rand -hex 32"
        )
    return found


def _make(path: Path, content: str) -> None:
    try:
        write_and_rename(path, f"{content}\n".encode())
    except OSError as error:
        raise BadInput(
            f"{path}: {error.strerror}, expected a place where a key file can be made",
            hint="give a path in a directory that exists and that you may write to",
        ) from error


@contextlib.contextmanager
def written(directory: Path, content: dict[str, Any], secret_: bytes) -> Iterator[Path]:
    """Gives the path for the accounts' file; what it then holds is sealed with `content`, in one rename.

    A seal that is half written has no manifest that fits, and is refused.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    scratch = directory / f".{ACCOUNTS}.{os.getpid()}"
    try:
        yield scratch
        sealed = {"format": FORMAT, **content, "sha256": _sha256(scratch)}
        # Manifest first gone, then the new file, then its manifest: no pair of an old and a new half fits.
        (directory / MANIFEST).unlink(missing_ok=True)
        scratch.chmod(0o600)
        scratch.replace(directory / ACCOUNTS)
        document = {**sealed, "hmac": _mac(sealed, secret_)}
        write_and_rename(directory / MANIFEST, json.dumps(document, indent=2).encode())
    finally:
        scratch.unlink(missing_ok=True)


def contents(
    position: Position, map_digest: str, accounts: int, entries: int, seen: list[int], sums: Sums | None = None
) -> dict[str, Any]:
    """What `load` gives back."""
    return {
        "fingerprint": fingerprint.kept(sums) if sums is not None else None,
        "position": asdict(position),
        "map_digest": map_digest,
        "accounts": accounts,
        "entries": entries,
        "seen": seen,
    }


def load(directory: Path, secret_: bytes) -> Seal:
    """A seal that is whole; BadInput where it is not, or was made with another key."""
    try:
        document = json.loads((directory / MANIFEST).read_bytes())
        if not isinstance(document, dict):
            raise BadInput(f"{directory / MANIFEST}: not a seal", hint=_RENEW)
        found = document.pop("hmac")
    except FileNotFoundError:
        raise BadInput(f"{directory}: no seal there, expected {MANIFEST}", hint=_RENEW) from None
    except (OSError, ValueError, KeyError, RecursionError) as error:
        raise BadInput(f"{directory / MANIFEST}: not a seal", hint=_RENEW) from error
    if not hmac.compare_digest(str(found).encode(errors="replace"), _mac(document, secret_).encode()):
        raise BadInput(f"{directory}: the seal was altered, or made with another key", hint=_RENEW)
    if document["format"] != FORMAT:
        raise BadInput(f"{directory}: a seal of format {document['format']}, expected {FORMAT}", hint=_RENEW)
    if not (directory / ACCOUNTS).exists() or _sha256(directory / ACCOUNTS) != document["sha256"]:
        raise BadInput(f"{directory / ACCOUNTS}: not the file that was sealed", hint=_RENEW)
    return Seal(
        directory=directory,
        position=Position(**document["position"]),
        map_digest=document["map_digest"],
        accounts=document["accounts"],
        entries=document["entries"],
        seen=tuple(document["seen"]),
        fingerprint=fingerprint.restored(document.get("fingerprint")),
    )


def _mac(sealed: dict[str, Any], secret_: bytes) -> str:
    canonical = json.dumps(sealed, sort_keys=True, separators=(",", ":")).encode()
    return hmac.digest(keys.seal_key(secret_), canonical, "sha256").hex()


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_READ_BYTES):
            digest.update(block)
    return digest.hexdigest()
