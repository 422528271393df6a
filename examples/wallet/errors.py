"""What the wallet answers when it cannot do what was asked; `answers.py` turns each into HTTP."""

from __future__ import annotations

from typing import Literal

Part = Literal["database", "sessions"]


class WalletError(Exception):
    """Every failure we expect."""


class Outage(WalletError):
    """A part every node shares does not answer: not this node's fault, and another node cannot do better."""

    def __init__(self, part: Part, why: str) -> None:
        super().__init__(f"{part}: {why}")
        self.part: Part = part
        self.why = why


class BadRequest(WalletError):
    """The request is wrong: which field, what was found, what was expected."""

    def __init__(self, field: str, found: object, expected: str, *, status: int = 400) -> None:
        super().__init__(f"{field}: found {_shown(found)}, expected {expected}")
        self.field = field
        self.found = _shown(found)
        self.expected = expected
        self.status = status


class BeingVerified(WalletError):
    """An account of the movement is closed until its data is verified (DRP-3.2b)."""


class NotLoggedIn(WalletError):
    """No session, or one that the session store does not know."""


class BadConfiguration(WalletError):
    """The node must not start like this."""

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


def _shown(found: object) -> str:
    if found is None:
        return "nothing"
    text = repr(found)
    return text if len(text) <= 80 else f"{text[:77]}..."
