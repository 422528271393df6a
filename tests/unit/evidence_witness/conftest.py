"""Logs in memory, with the real tree, for the witness's judgement."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from siaga.evidence.cosigning import Request
from siaga.evidence.keys import SigningKey
from siaga.evidence.merkle import Tree, leaf_hash
from siaga.evidence.notes import checkpoint_text, written
from siaga.evidence.signatures import ED25519

ORIGIN = "siaga/test/1"


class LogInMemory:
    """Records as bytes; signs its own checkpoints."""

    def __init__(self, records: Sequence[bytes], key: SigningKey) -> None:
        self.leaves = [leaf_hash(record) for record in records]
        self.key = key
        self.handovers: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        return len(self.leaves)

    def root(self, size: int) -> bytes:
        return Tree(0, (), self.leaves).root(size)

    def consistency(self, old: int, new: int) -> Sequence[bytes]:
        return Tree(0, (), self.leaves).consistency(old, new)

    def chain(self, size: int) -> bytes:
        chain = b"\0" * 32
        for leaf in self.leaves[:size]:
            chain = hashlib.sha256(chain + leaf).digest()
        return chain

    def note(self, size: int) -> str:
        text = checkpoint_text(ORIGIN, size, self.root(size), self.chain(size))
        return written(text, [self.key.sign(text, 0)])

    def request(self, old: int, size: int) -> Request:
        proof = tuple(self.consistency(old, size)) if 0 < old < size else ()
        return Request(self.note(size), old, proof, self.key.public, self.handovers)


def made_key(seed: int, name: str = ORIGIN, kind: int = ED25519) -> SigningKey:
    return SigningKey(name, kind, Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32))


@pytest.fixture(scope="session")
def log_of() -> Callable[..., LogInMemory]:
    """Makes a log of so many records; `altered` names one that differs."""

    def make(size: int, *, altered: int | None = None, key: SigningKey | None = None) -> LogInMemory:
        records = [b"record %d%s" % (n, b" altered" if n == altered else b"") for n in range(size)]
        return LogInMemory(records, key or made_key(1))

    return make


@pytest.fixture(scope="session")
def signing_key() -> Callable[..., SigningKey]:
    """Makes the key of a seed."""
    return made_key
