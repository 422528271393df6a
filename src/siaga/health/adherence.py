"""What the readings mean for PMT (pure): maintenance is proactive only while nothing read asks to be acted on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from siaga.health.model import Kind, Reading, Verdict
from siaga.sop.adherence import Adherence, Standing
from siaga.sop.clauses import ClauseId

VALID_S = 7 * 24 * 3600 + 3600
"""A week and an hour: the record is weekly, and the next one takes its time."""

_ADHERENCE = {
    Verdict.ACT_NOW: Adherence.BROKEN,
    Verdict.ACT_SOON: Adherence.AT_RISK,
    Verdict.NOT_MEASURED: Adherence.NOT_MEASURED,
    Verdict.OK: Adherence.HOLDS,
}
_WORST_FIRST = tuple(_ADHERENCE)

GROUPS: dict[str, tuple[Kind, ...]] = {
    "disks": (Kind.DISK_SPACE, Kind.DISK_INODES),
    "writing to disk": (Kind.FSYNC, Kind.WRITE_ERRORS),
    "the kernel's log": (Kind.KERNEL_ERRORS,),
    "filesystems and data": (Kind.FILESYSTEM_ERRORS, Kind.CHECKSUM_FAILURES, Kind.SCRUB_FAILURES),
    "certificates": (Kind.CERTIFICATE,),
    "clocks": (Kind.CLOCK_OFFSET, Kind.CLOCK_SPREAD),
    "packages": (Kind.PACKAGE_AGE, Kind.SUPPORT),
    "replication slots": (Kind.SLOT_WAL,),
    "head-room": (
        Kind.CONNECTIONS,
        Kind.POOLER_CLIENTS,
        Kind.SESSION_CLIENTS,
        Kind.SESSION_MEMORY,
        Kind.FILE_DESCRIPTORS,
    ),
}
"""The parts of PMT that `siaga sop` shows."""

_NAMED_MAX = 3


def standing(readings: Sequence[Reading]) -> tuple[Standing, ...]:
    """One part a group that has something to read; nothing read at all is one part that is not measured."""
    if not readings:
        return (_part("health", Adherence.NOT_MEASURED, "", "nothing was read yet", None),)
    found = []
    for name, kinds in GROUPS.items():
        group = [r for r in readings if r.observation.kind in kinds]
        if any(r.verdict is not Verdict.NOT_APPLICABLE for r in group):
            found.append(_of(name, group))
    return tuple(found)


def worst(readings: Iterable[Reading]) -> Verdict:
    """The verdict that decides about all of them; nothing read, or nothing to read, is not measured."""
    verdicts = (r.verdict for r in readings if r.verdict is not Verdict.NOT_APPLICABLE)
    return min(verdicts, key=_WORST_FIRST.index, default=Verdict.NOT_MEASURED)


def _of(name: str, group: Sequence[Reading]) -> Standing:
    verdict = worst(group)
    deciding = [r for r in group if r.verdict is verdict]
    applicable = [r for r in group if r.verdict is not Verdict.NOT_APPLICABLE]
    figure = f"{sum(r.verdict is Verdict.OK for r in group)} of {len(applicable)} readings ok"
    if len(applicable) < len(group):
        figure += f", {len(group) - len(applicable)} not applicable"
    oldest = min(r.at for r in group)
    if verdict is Verdict.OK:
        return _part(name, Adherence.HOLDS, figure, "every reading is within its limit", oldest)
    named = [f"{r.observation.kind} of {r.observation.subject}: {r.why}" for r in deciding[:_NAMED_MAX]]
    more = len(deciding) - len(named)
    why = "; ".join(named) + (f"; and {more} more" if more else "")
    return _part(name, _ADHERENCE[verdict], figure, f"{verdict}: {why}", oldest)


def _part(name: str, adherence: Adherence, figure: str, why: str, at: datetime | None) -> Standing:
    return Standing(
        clause=ClauseId.PMT,
        adherence=adherence,
        figure=figure,
        limit="every reading within its limit, weekly",
        why=why,
        observed_at=at,
        part=name,
        valid_s=VALID_S,
    )
