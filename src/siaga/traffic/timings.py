"""How long a try at a node may take (ZDT-1.1a): pure arithmetic from distances.

A request must survive one node that hangs: the per-try time-out of the first node plus the answer of its
neighbour has to fit the clause's limit. It depends only on the node's region, not on who calls.
"""

from __future__ import annotations

from dataclasses import dataclass

from siaga.errors import BadInput
from siaga.site.model import Site

_PER_TRY_MS_MAX = 200
"""Beyond the round trip. Above any healthy p99 (tens of ms), so that hedges stay the exception."""
_NEIGHBOUR_MS = 100
"""What the second node may need beyond its own round trip to the database."""
_DATABASE_WORK_MS = 55
"""The least a node leaves the database beyond the round trip."""
_ANSWER_MS_MIN = 25
"""The node's outage answer must be out before the edge gives the node up (decision 23)."""


@dataclass(frozen=True, slots=True)
class Timings:
    """The two deadlines of a region's nodes."""

    per_try_ms: int
    """When the edge also asks the neighbour."""
    database_deadline_ms: int
    """When the node stops waiting for the database and answers with the outage header."""

    @property
    def region_ms(self) -> int:
        """When the door gives up on its region: two tries."""
        return 2 * self.per_try_ms


def timings(region: str, round_trip_to_database_ms: int, *, latency_ms_max: int = 500) -> Timings:
    """The deadlines for a region; BadInput when the distance leaves no room for a second try."""
    per_try_ms = min(
        round_trip_to_database_ms + _PER_TRY_MS_MAX,
        latency_ms_max - _NEIGHBOUR_MS - round_trip_to_database_ms,
    )
    database_deadline_ms = max(per_try_ms * 3 // 4, round_trip_to_database_ms + _DATABASE_WORK_MS)
    if per_try_ms - database_deadline_ms < _ANSWER_MS_MIN:
        farthest = (latency_ms_max - _NEIGHBOUR_MS - _DATABASE_WORK_MS - _ANSWER_MS_MIN) // 2
        raise BadInput(
            f"region `{region}` is {round_trip_to_database_ms} ms from the database, a second try within"
            f" {latency_ms_max} ms allows at most {max(farthest, 0)} ms",
            hint="Move the region's nodes nearer to the database, or serve its users from a nearer region.",
        )
    return Timings(per_try_ms=per_try_ms, database_deadline_ms=database_deadline_ms)


def site_timings(site: Site) -> dict[str, Timings]:
    """The deadlines of every region of a site, by its name."""
    return {
        region.name: timings(
            region.name,
            site.round_trip_ms(region.name, site.transactions.region),
            latency_ms_max=site.limits.traffic.latency_ms_max,
        )
        for region in site.regions
    }
