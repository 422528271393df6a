"""Keys made from one secret that stays off the database's host: one for digests of entries, one for seals. Pure."""

from __future__ import annotations

import hmac

from siaga.ledger.accumulators import KEY_DIGITS

SECRET_DIGITS = 64
"""Of the secret: hexadecimal, 256 bits."""


def entry_key(secret: bytes) -> str:
    """For the keyed digests: journal, seal and check must use the same secret to be compared."""
    return hmac.digest(secret, b"siaga ledger: digests of entries", "sha256").hex()[:KEY_DIGITS]


def seal_key(secret: bytes) -> bytes:
    """For the authentication of a seal."""
    return hmac.digest(secret, b"siaga ledger: seals", "sha256")
