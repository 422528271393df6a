"""Is the session cluster separate from the database cluster (ZDT-1.1b): what one failure could take from both.

Compares what is configured. That a database failure really logs nobody out is proven by the drill `database-loss`.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import PurePosixPath
from posixpath import normpath

from siaga.sessions.model import Event
from siaga.sop.adherence import Adherence, Standing
from siaga.sop.clauses import ClauseId

Key = tuple[str, str]
"""A host and what is compared on it; the host is empty for what is the same everywhere."""


class Cluster(StrEnum):
    """Which of the two a server belongs to."""

    DATABASE = "database"
    SESSIONS = "sessions"


@dataclass(frozen=True, slots=True)
class Placement:
    """Where one server lives; None where nobody has told."""

    cluster: Cluster
    server: str
    host: str | None = None
    process: str | None = None
    """What tells its process apart on its host, such as a pid or a unit."""
    directory: str | None = None
    volume: str | None = None
    """The disk below the directory, named so that the same name is the same disk on every host."""
    credential: str | None = None
    """`fingerprint` of its password."""


class Separation(StrEnum):
    """How an aspect of the two clusters compares."""

    SEPARATED = "separated"
    SHARED = "shared"
    NOT_APPLICABLE = "not applicable"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Aspect:
    """One thing that the two clusters could share."""

    name: str
    separation: Separation
    why: str


def fingerprint(secret: bytes, key: bytes) -> str:
    """Make a secret comparable and nothing else; `key` is random and forgotten with the process."""
    return hmac.digest(key, secret, "sha256").hex()


def separation(placements: Sequence[Placement], *, one_machine: bool) -> tuple[Aspect, ...]:
    """Compare every database server with every session server, aspect by aspect.

    `one_machine`: the embedded platform, which has but one host and one disk to give.
    """
    hosts = _compare("hosts", placements, lambda p: _anywhere(p.host))
    on_hosts: tuple[Aspect, ...] = (
        _compare("processes", placements, lambda p: _on_host(p, p.process)),
        _compare("directories", placements, lambda p: _on_host(p, p.directory), shared=_nested),
    )
    if hosts.separation is Separation.SEPARATED:
        on_hosts = tuple(Aspect(a.name, Separation.SEPARATED, "they are on different hosts") for a in on_hosts)
    compared = (
        hosts,
        *on_hosts,
        # A volume on the network may be attached to two hosts, so different hosts prove nothing about it.
        _compare("volumes", placements, lambda p: _anywhere(p.volume)),
        _compare("credentials", placements, lambda p: _anywhere(p.credential)),
    )
    excused = {"hosts", "volumes"} if one_machine else set()
    return tuple(
        Aspect(a.name, Separation.NOT_APPLICABLE, f"one machine: the embedded platform cannot separate {a.name}")
        if a.name in excused
        else a
        for a in compared
    )


def changes(before: Sequence[Aspect], after: Sequence[Aspect], now: datetime) -> tuple[Event, ...]:
    """Give what is to be recorded: every aspect at the first look, and each one that changed since."""
    return tuple(
        Event("separation", f"{a.name} {a.separation}: {a.why}", ClauseId.ZDT_1_1B, now)
        for a in after
        if a not in before
    )


def standing(aspects: Sequence[Aspect], now: datetime, *, valid_s: float) -> Standing:
    """Give separation's part of ZDT-1.1b: one thing shared breaks it, one thing untold leaves it unmeasured."""
    by_kind = {kind: [a for a in aspects if a.separation is kind] for kind in Separation}
    if by_kind[Separation.SHARED]:
        adherence, deciding = Adherence.BROKEN, by_kind[Separation.SHARED]
    elif by_kind[Separation.UNKNOWN] or not by_kind[Separation.SEPARATED]:
        adherence, deciding = Adherence.NOT_MEASURED, by_kind[Separation.UNKNOWN]
    else:
        adherence, deciding = Adherence.HOLDS, list(aspects)
    separated = [a.name for a in by_kind[Separation.SEPARATED]]
    return Standing(
        clause=ClauseId.ZDT_1_1B,
        adherence=adherence,
        figure=f"separated: {', '.join(separated)}" if separated else "nothing known to be separated",
        limit="no host, process, directory, volume or credential shared with the database cluster",
        why="; ".join(f"{a.name}: {a.why}" for a in deciding) or "no placement is known",
        observed_at=now,
        part="separation",
        valid_s=valid_s,
    )


def _anywhere(value: str | None) -> Key | None:
    return ("", value) if value is not None else None


def _on_host(placement: Placement, value: str | None) -> Key | None:
    """Qualify a name that repeats on every host: pid 812 of one host is not pid 812 of another."""
    return (placement.host, value) if placement.host is not None and value is not None else None


def _equal(one: Key, other: Key) -> bool:
    return one == other


def _nested(one: Key, other: Key) -> bool:
    (host, path), (other_host, other_path) = one, other
    a, b = PurePosixPath(normpath(path)), PurePosixPath(normpath(other_path))
    return host == other_host and (a.is_relative_to(b) or b.is_relative_to(a))


def _compare(
    name: str,
    placements: Sequence[Placement],
    key: Callable[[Placement], Key | None],
    shared: Callable[[Key, Key], bool] = _equal,
) -> Aspect:
    untold = [p.server for p in placements if key(p) is None]
    sides = {c: [(p.server, k) for p in placements if p.cluster is c and (k := key(p)) is not None] for c in Cluster}
    for server, one in sides[Cluster.SESSIONS]:
        for database, other in sides[Cluster.DATABASE]:
            if shared(one, other):
                return Aspect(name, Separation.SHARED, f"{server} and {database} share one")
    if untold:
        return Aspect(name, Separation.UNKNOWN, f"not told for {', '.join(untold)}")
    if not all(sides.values()):
        return Aspect(name, Separation.UNKNOWN, "no server to compare with")
    return Aspect(name, Separation.SEPARATED, "none is used by both clusters")
