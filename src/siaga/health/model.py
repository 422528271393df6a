"""The nouns of preventive health (PMT): what is read, what a reading says, and who reads."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from siaga.site.health import COUNTING_DOWN, Limit

NOT_YET = "not read yet; the weekly check does"


class Kind(StrEnum):
    """What is read; each is the name of its limit in the site file, and ends with its unit unless it is a count."""

    DISK_SPACE = "disk_space_used_percent"
    DISK_INODES = "disk_inodes_used_percent"
    FSYNC = "fsync_p99_ms"
    WRITE_ERRORS = "write_errors"
    FILESYSTEM_ERRORS = "filesystem_errors"
    KERNEL_ERRORS = "kernel_errors"
    CHECKSUM_FAILURES = "checksum_failures"
    SCRUB_FAILURES = "scrub_failures"
    CERTIFICATE = "certificate_days"
    CLOCK_OFFSET = "clock_offset_ms"
    CLOCK_SPREAD = "clock_spread_ms"
    PACKAGE_AGE = "package_age_days"
    SUPPORT = "support_days"
    SLOT_WAL = "slot_wal_percent"
    CONNECTIONS = "connections_percent"
    POOLER_CLIENTS = "pooler_clients_percent"
    SESSION_CLIENTS = "session_clients_percent"
    SESSION_MEMORY = "session_memory_percent"
    FILE_DESCRIPTORS = "file_descriptors_percent"

    @property
    def unit(self) -> str:
        """`%`, `ms`, `days`, or empty for a count."""
        last = self.value.rpartition("_")[2]
        return {"percent": "%", "ms": "ms", "days": "days"}.get(last, "")

    @property
    def counts_down(self) -> bool:
        """Whether the value is itself the days that are left, and less is worse."""
        return self.value in COUNTING_DOWN


FILLS = frozenset({Kind.DISK_SPACE, Kind.DISK_INODES, Kind.SLOT_WAL, Kind.SESSION_MEMORY})
"""Stocks that only somebody's act empties again: a rise of hours already counts."""

VARIES = frozenset(
    {
        Kind.FSYNC,
        Kind.CONNECTIONS,
        Kind.POOLER_CLIENTS,
        Kind.SESSION_CLIENTS,
        Kind.FILE_DESCRIPTORS,
    }
)
"""Up and down with each day's users: only a rise over days counts."""


class Verdict(StrEnum):
    """What a reading asks for."""

    OK = "ok"
    ACT_SOON = "act soon"
    ACT_NOW = "act now"
    NOT_MEASURED = "not measured"
    NOT_APPLICABLE = "not applicable"
    """It is known that there is nothing to read; it says so, and counts neither as well nor as unseen."""


ASKS_NOTHING = frozenset({Verdict.OK, Verdict.NOT_APPLICABLE})


@dataclass(frozen=True, slots=True)
class Observation:
    """What a reader saw."""

    kind: Kind
    host: str
    subject: str
    """Of what: a mount point, a server, a slot, a certificate."""
    value: float | None
    """None: not measured, or nothing to read."""
    why: str = ""
    """Why there is no value, or what is behind it; no secret."""
    applicable: bool = True
    """False only where the reader knows that there is nothing to read; a look that failed is no such knowledge."""


@dataclass(frozen=True, slots=True)
class Point:
    """One past value."""

    at_s: float
    """Seconds since 1970."""
    value: float


@dataclass(frozen=True, slots=True)
class Reading:
    """An observation against its limit."""

    observation: Observation
    verdict: Verdict
    limit: Limit
    trend_per_day: float | None
    """Robust slope, in units a day; None where there is none to tell from noise."""
    days_left: float | None
    """Until the value reaches `limit.now` if the trend goes on, or until the date itself."""
    at: datetime
    why: str
    """In words, with figure and limit."""


@dataclass(frozen=True, slots=True)
class Reader:
    """One look at one thing. What it can't see is said by its exception, and is then not measured."""

    name: str
    """Unique: what it returned last stands until it reads again."""
    host: str
    kinds: tuple[Kind, ...]
    read: Callable[[datetime], Awaitable[Sequence[Observation]]]
    subject: str = ""
    deadline_s: float = 20.0
    scrub: bool = False
    """Reads all the data, slowly: only in the weekly check."""
    unread: Callable[[datetime], Awaitable[Sequence[Observation]]] | None = None
    """What is known of data that no scrub ever read; None: that it was not read."""

    def blind(self, why: str) -> tuple[Observation, ...]:
        """What is known when it could not look."""
        return tuple(Observation(kind, self.host, self.subject or self.name, None, why) for kind in self.kinds)
