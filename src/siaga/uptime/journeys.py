"""What a synthetic journey is: how far it goes, what comes of it, and the accounts it uses."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from siaga.uptime.model import Outcome, Step


class Kind(StrEnum):
    """How far a journey goes."""

    LIGHT = "light"
    """The balance alone, in a session that is kept."""
    FULL = "full"
    """A new session, the balance, a transfer."""
    AGAIN = "again"
    """After a failure: everything that could have failed, the log-in only if that is what did."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """What came of one journey."""

    outcome: Outcome
    step: Step | None = None
    why: str = ""


class Journey(Protocol):
    """A user's way through one front door; one attempt at a time."""

    async def travel(self, kind: Kind) -> Attempt:
        """Go once; never raises for anything the platform does."""
        ...

    async def close(self) -> None:
        """Close its connections."""
        ...


@dataclass(slots=True)
class Account:
    """A test account, and its session."""

    name: str
    password: str = field(repr=False)
    number: int = 0
    """Known after the first log-in."""
    session: str = field(default="", repr=False)
    claim: str = field(default="", repr=False)

    @property
    def cookie(self) -> str:
        """Both cookies, as a browser sends them."""
        return f"session={self.session}; claim={self.claim}" if self.claim else f"session={self.session}"


def provided_accounts(region: str, password: str) -> tuple[Account, Account]:
    """The two test accounts of a region."""
    return Account(f"probe-{region}-a", password), Account(f"probe-{region}-b", password)
