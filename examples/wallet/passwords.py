"""Password hashes: scrypt, in threads of their own so that log-ins never hold up payments."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import secrets
from concurrent.futures import ThreadPoolExecutor

BLOCK_SIZE = 8
THREADS = 2


class Passwords:
    """Hashes and verifies; the cost is part of each hash, so it can be raised later."""

    def __init__(self, log2n: int) -> None:
        self._log2n = log2n
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="scrypt")
        self._nobody = hash_password(secrets.token_hex(16), log2n)

    async def hash(self, password: str) -> str:
        """A new salted hash."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, hash_password, password, self._log2n)

    async def verify(self, password: str, stored: str | None) -> bool:
        """Whether the password is the stored one; an unknown user (None) takes as long as a known one."""
        loop = asyncio.get_running_loop()
        matches = await loop.run_in_executor(self._threads, verify_password, password, stored or self._nobody)
        return matches and stored is not None

    def stop(self) -> None:
        """Let the threads end."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def hash_password(password: str, log2n: int) -> str:
    """`scrypt$LOG2N$SALT$HASH`."""
    salt = secrets.token_bytes(16)
    return f"scrypt${log2n}${_text(salt)}${_text(_scrypt(password, salt, log2n))}"


def verify_password(password: str, stored: str) -> bool:
    """Whether `stored` was made from this password."""
    _, log2n, salt, expected = stored.split("$")
    return hmac.compare_digest(_text(_scrypt(password, base64.b64decode(salt), int(log2n))), expected)


def _scrypt(password: str, salt: bytes, log2n: int) -> bytes:
    memory = 256 * BLOCK_SIZE << log2n  # twice what RFC 7914 needs; OpenSSL refuses more than it is told
    return hashlib.scrypt(password.encode(), salt=salt, n=1 << log2n, r=BLOCK_SIZE, p=1, maxmem=memory, dklen=32)


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
