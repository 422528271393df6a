"""The last balances this node saw, for reads while the database is away; marked stale, never used for a write. Pure."""

from __future__ import annotations

from collections import OrderedDict

AGE_S_MAX = 60.0
ACCOUNTS_MAX = 10_000


class LastKnown:
    """Balances by account with the time they were read; the least recently noted is forgotten first."""

    def __init__(self) -> None:
        self._noted: OrderedDict[int, tuple[int, float]] = OrderedDict()

    def note(self, account: int, balance: int, now_s: float) -> None:
        """Remember a balance that the database just told."""
        self._noted[account] = (balance, now_s)
        self._noted.move_to_end(account)
        if len(self._noted) > ACCOUNTS_MAX:
            self._noted.popitem(last=False)

    def forget(self, account: int) -> None:
        """What we remember may be from before a recovery."""
        self._noted.pop(account, None)

    def recall(self, account: int, now_s: float) -> tuple[int, float] | None:
        """Balance and age in seconds; None when unknown or too old to show."""
        noted = self._noted.get(account)
        if noted is None or now_s - noted[1] > AGE_S_MAX:
            return None
        return noted[0], now_s - noted[1]
