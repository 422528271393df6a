"""Account ids as they stand in the evidence: pseudonyms that only the holder of the key can resolve.

AES-SIV (RFC 5297): the same id gives the same pseudonym under one key, another one under the key of another site, and
a pseudonym that was altered resolves to nothing. An id counts by its text, so 42 from a database and "42" from
a command line are one account. Destroying the key erases the persons and leaves every record provable.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
from pathlib import Path
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from siaga.errors import BadInput, Refused
from siaga.hosts.local import write_and_rename

PREFIX = "acct_"
ID_BYTES_MAX = 255
_CONTEXT = [b"siaga account pseudonym v1"]
_KEY_BYTES = 64
_BLOCK_BYTES = 16
_RESTORE = "Restore it from the backup of Siaga's state; without the key no pseudonym can be resolved."


class Pseudonyms:
    """Makes and resolves them with one site's keys; the newest key makes, each of them resolves."""

    def __init__(self, path: Path) -> None:
        """Load the keys, oldest first, making the first where there is none; BadInput when the file is damaged."""
        self._path = path
        if not path.exists():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write(path, (os.urandom(_KEY_BYTES),))
        self._keys = _read(path)
        self._ciphers = [AESSIV(key) for key in self._keys]

    def of(self, account: str | int | UUID) -> str:
        """The pseudonym of this account id; BadInput when it is none."""
        return _pseudonym(self._ciphers[-1], account)

    def all_of(self, account: str | int | UUID) -> tuple[str, ...]:
        """Every pseudonym that the account ever had, the present one first: what to search older records for."""
        return tuple(_pseudonym(cipher, account) for cipher in reversed(self._ciphers))

    def resolve(self, pseudonym: str) -> str:
        """The account id as text; BadInput when it is no pseudonym, Refused when it was made with no key of ours."""
        content = _decoded(pseudonym)
        for cipher in reversed(self._ciphers):
            try:
                padded = cipher.decrypt(content, _CONTEXT)
            except InvalidTag:
                continue
            return padded.rstrip(b"\x00")[:-1].decode(errors="surrogatepass")
        raise Refused(
            f"`{pseudonym[:80]}` was altered, or made with a key that is not in {self._path}",
            hint="Use the keys of the site whose evidence it stands in.",
        )

    def rotate(self) -> None:
        """Make pseudonyms with a new key from now on; the old ones are still resolved."""
        keys = (*self._keys, os.urandom(_KEY_BYTES))
        _write(self._path, keys)
        self._keys = keys
        self._ciphers.append(AESSIV(keys[-1]))


def _pseudonym(cipher: AESSIV, account: str | int | UUID) -> str:
    if isinstance(account, bool) or not isinstance(account, str | int | UUID):
        raise BadInput(
            f"account: found {type(account).__name__}, expected a text, a whole number or a UUID",
            hint="Give the id as it stands in the ledger.",
        )
    content = str(account).encode(errors="surrogatepass")
    if not 0 < len(content) <= ID_BYTES_MAX:
        raise BadInput(
            f"account: found {len(content)} bytes, expected 1 to {ID_BYTES_MAX}",
            hint="Give the id as it stands in the ledger.",
        )
    # Filled up to whole blocks (ISO/IEC 7816-4): the length of an id would tell its age.
    padded = content + b"\x80" + b"\x00" * (-(len(content) + 1) % _BLOCK_BYTES)
    return PREFIX + base64.b32encode(cipher.encrypt(padded, _CONTEXT)).decode().rstrip("=").lower()


def _decoded(pseudonym: str) -> bytes:
    encoded = pseudonym.removeprefix(PREFIX)
    bad = BadInput(
        f"pseudonym {pseudonym[:80]!r}: expected `{PREFIX}` and base32 in lower case",
        hint="Copy it whole from the record.",
    )
    if not pseudonym.startswith(PREFIX) or not re.fullmatch(r"[a-z2-7]+", encoded):
        raise bad
    try:
        content = base64.b32decode(encoded.upper() + "=" * (-len(encoded) % 8))
    except binascii.Error:
        raise bad from None
    # Bits that no byte uses would let one account have several pseudonyms.
    if base64.b32encode(content).decode().rstrip("=").lower() != encoded or len(content) < 2 * _BLOCK_BYTES:
        raise bad
    return content


def _write(path: Path, keys: tuple[bytes, ...]) -> None:
    lines = (f"{hashlib.sha256(key).hexdigest()[:8]} {base64.b64encode(key).decode()}\n" for key in keys)
    write_and_rename(path, "".join(lines).encode())


def _read(path: Path) -> tuple[bytes, ...]:
    try:
        mode = path.stat().st_mode & 0o777
        lines = path.read_text(encoding="ascii").splitlines()
        keys = tuple(_read_key(line) for line in lines)
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}", hint=_RESTORE) from error
    except ValueError:
        # Not chained: the error below would carry a part of the key.
        raise BadInput(f"{path} is damaged, expected lines of a checksum and a key", hint=_RESTORE) from None
    if not keys:
        raise BadInput(f"{path} is empty, expected lines of a checksum and a key", hint=_RESTORE)
    if mode & 0o077:
        raise BadInput(f"{path} has mode {mode:04o}, expected 0600", hint=f"`chmod 600 {path}`, then rotate the key.")
    return keys


def _read_key(line: str) -> bytes:
    checksum, _, encoded = line.partition(" ")
    key = base64.b64decode(encoded, validate=True)
    if len(key) != _KEY_BYTES or hashlib.sha256(key).hexdigest()[:8] != checksum:
        raise ValueError("checksum")
    return key
