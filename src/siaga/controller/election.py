"""When a standby may take over, and from when it may act: the timing of leadership, as plain arithmetic.

Every duration is measured on one machine's own clock since boot, which counts suspended time too. The
database's clock and the wall clocks decide nothing, so setting them changes nothing.

A leader trusts its lease for LEASE_S from the moment it *sent* its last renewal that was confirmed. A standby
counts from the moment it first *received* that renewal, which is later, and waits STALE_S, which is longer:
so the old lease has ended before anybody acts under a new epoch.
"""

from __future__ import annotations

from dataclasses import dataclass

RENEW_S = 0.5
"""A leader renews its lease this often."""
LEASE_S = 1.5
"""After a renewal a leader may act for so long."""
STALE_S = 2.0
"""A lease that was not renewed for so long is over, whatever its holder believes."""
LOOK_S = 0.25
"""A standby looks this often."""
LOOP_SILENT_S_MAX = 15.0
"""A leader whose own event loop does nothing for so long hangs, and stops renewing."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The leader's row as a standby reads it."""

    epoch: int
    renewals: int
    released: bool
    """Given up in an orderly way, or never held."""
    settled: bool
    """Whether its holder has begun to act. One that has not may have died while its own predecessor still acted."""
    holder: str
    host: str
    machine: str
    """Within one machine a pid means the same process."""
    pid: int
    started_ticks: int
    since: str
    """Wall time of the epoch's begin, for people."""
    format: int
    """Of the state, as whoever led last wrote it."""
    siaga: str
    """The version of the program that did."""


@dataclass(slots=True)
class Watch:
    """How long a standby has seen the same renewal."""

    lease: Lease | None = None
    first_seen_s: float = 0.0

    def see(self, lease: Lease, now_s: float) -> None:
        """Note what was read; `now_s` is when the answer arrived."""
        if lease != self.lease:
            self.lease = lease
            self.first_seen_s = now_s

    def unchanged_s(self, now_s: float) -> float:
        """The least age of the last renewal."""
        return now_s - self.first_seen_s


def may_take_over(unchanged_s: float, *, lock_is_free: bool) -> bool:
    """Whether to try: the holder's session is gone, or its lease is over."""
    return lock_is_free or unchanged_s >= STALE_S


def settle_s(lease: Lease, unchanged_s: float, *, dead: bool) -> float:
    """How long a new leader waits before its first act, for an old one that may still believe in its lease.

    The death of a holder that never acted proves nothing about the leader before it.
    """
    if lease.settled and (dead or lease.released):
        return 0.0
    return max(0.0, STALE_S - unchanged_s)
