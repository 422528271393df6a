"""Who leads: of several controllers on one state exactly one acts, under an epoch that only grows.

The epoch goes with every act whose target can check it. Targets that can't (PgBouncer, Envoy, signals)
are safe because a new leader makes the old one harmless first (decision 13).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from siaga.errors import Exit, SiagaError

EXIT_LOST = 70
"""The code a controller ends with when it may not lead any more; its keeper starts it again as a standby."""


class NotLeading(SiagaError):
    """Somebody else may lead by now: nothing was done."""

    exit_code = Exit.REFUSED


class Leadership(Protocol):
    """One controller's part in it. Once lost it never comes back to this process: the process ends."""

    @property
    def epoch(self) -> int:
        """The epoch we lead under; 0 before `lead` returned."""
        ...

    async def lead(self) -> int:
        """Wait until we lead, and return the epoch; it is larger than every one before it."""
        ...

    def valid(self) -> bool:
        """Whether we lead at this moment. Cheap, and false at once after any pause longer than the lease."""
        ...

    async def may_act(self) -> None:
        """Return when we lead; NotLeading otherwise. Asked before every act."""
        ...

    async def give_up(self) -> None:
        """Let another lead at once; the last thing before the process ends."""
        ...

    def describe(self) -> Mapping[str, Any]:
        """Who leads as far as we know, for `/v1/leader` and `siaga status`."""
        ...


def not_leading(epoch: int) -> NotLeading:
    """What `may_act` raises."""
    return NotLeading(
        f"this controller does not lead (its last epoch is {epoch}), so it may not act",
        hint="Nothing was done. `siaga status` shows who leads; a new leader goes on with what is open.",
    )
