"""Judges the session cluster (ZDT-1.1b): does every session have a primary that answers, and a second copy.

Each server speaks for itself only. What the others gossip about it is asked for one thing: whose slots are
missing when their owner is silent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from siaga.sessions import slots as slot
from siaga.sessions.model import (
    SLOTS,
    Answer,
    Coverage,
    Event,
    Member,
    Ranges,
    Role,
    ServerFacts,
    SessionVerdict,
    Shard,
    SlotRange,
)
from siaga.sop.adherence import Adherence
from siaga.sop.clauses import ClauseId
from siaga.sop.limits import SessionsLimits


@dataclass(frozen=True, slots=True)
class _Cluster:
    """The servers, each counted once, with what they believe together."""

    servers: tuple[ServerFacts, ...]
    members: Mapping[str, Member]
    """By node id, the newest line of any server that answered."""

    @property
    def answering(self) -> tuple[ServerFacts, ...]:
        return tuple(s for s in self.servers if s.answer is Answer.ANSWERED)

    def find(self, member: Member) -> ServerFacts | None:
        """The configured server behind a line of the cluster's view."""
        by_id = (s for s in self.servers if s.node_id == member.node_id)
        by_address = (s for s in self.servers if not s.node_id and s.address == member.address)
        return next(by_id, None) or next(by_address, None)


def decide(
    facts: Sequence[ServerFacts], limits: SessionsLimits, now: datetime, previous: SessionVerdict | None = None
) -> SessionVerdict:
    """Judge the cluster as observed; `previous` is the verdict of the pass before."""
    servers = tuple(_patient(server, previous) for server in facts)
    cluster = _cluster(servers)
    served = _served(cluster)
    ranges = slot.ranges(served)
    slots_served = SLOTS - served.count("")
    complete = slots_served == SLOTS
    shards = (*_served_shards(cluster, ranges), *(() if complete else _missing_shards(cluster, served)))
    adherence, why = _judgement(cluster, shards)
    owners = ranges if complete else slot.ranges(_remembered(served, previous))
    return SessionVerdict(
        adherence=adherence,
        figure=_figure(cluster, shards, slots_served),
        limit=(
            f"{SLOTS} of {SLOTS} slots on primaries that answer, each with a linked replica; "
            f"at most {limits.sessions_lost_max} sessions lost to a database failure"
        ),
        why=why,
        observed_at=min((s.observed_at for s in servers), default=None),
        shards=tuple(sorted(shards, key=lambda shard: shard.slots)),
        slots_served=slots_served,
        servers=servers,
        owners=owners,
        events=(*_hand_overs(owners, previous, cluster, now), *_changes(adherence, why, previous, now)),
    )


def _patient(server: ServerFacts, previous: SessionVerdict | None) -> ServerFacts:
    """Let a server's last answer speak once more: one missed deadline is no verdict."""
    if server.answer is not Answer.HUNG or server.timeouts > 1 or previous is None:
        return server
    last = next((s for s in previous.servers if s.name == server.name), None)
    return replace(last, timeouts=server.timeouts) if last and last.answer is Answer.ANSWERED else server


def _cluster(servers: tuple[ServerFacts, ...]) -> _Cluster:
    members: dict[str, Member] = {}
    for server in servers:
        for member in server.members if server.answer is Answer.ANSWERED else ():
            known = members.get(member.node_id)
            # Of equal epochs, the line that says "failed": that took a majority of the primaries.
            if known is None or (member.epoch, member.failed) > (known.epoch, known.failed):
                members[member.node_id] = member
    return _Cluster(servers, members)


def _served(cluster: _Cluster) -> list[str]:
    """Server name by slot, where a primary answers for it and accepts writes."""
    claims = [(s.name, s.epoch, s.slots) for s in cluster.answering if s.role is Role.PRIMARY and s.serving]
    return slot.owner_map(claims)


def _served_shards(cluster: _Cluster, served: Ranges) -> list[Shard]:
    by_primary = slot.grouped(served)
    return [
        Shard(slots, name, Coverage.SERVED, _linked_replicas(cluster, name))
        for name, slots in by_primary.items()
        if name
    ]


def _missing_shards(cluster: _Cluster, served: list[str]) -> list[Shard]:
    """What nobody serves, grouped by who should: the cluster's own belief, newest first."""
    believed = slot.owner_map((m.node_id, m.epoch, m.slots) for m in cluster.members.values())
    missing = ["" if name else f"missing {node_id}" for name, node_id in zip(served, believed, strict=True)]
    return [
        _missing_shard(cluster, slots, cluster.members.get(key.removeprefix("missing ")))
        for key, slots in slot.grouped(slot.ranges(missing)).items()
        if key
    ]


def _linked_replicas(cluster: _Cluster, primary: str) -> tuple[str, ...]:
    node_id = next(s.node_id for s in cluster.servers if s.name == primary)
    replicas = (s for s in cluster.answering if s.role is Role.REPLICA and s.primary_id == node_id)
    return tuple(s.name for s in replicas if s.link_up)


def _missing_shard(cluster: _Cluster, ranges: tuple[SlotRange, ...], member: Member | None) -> Shard:
    if member is None:
        seen = cluster.answering or _all_refused(cluster)
        why = "no server that answers owns them or knows who does"
        return Shard(ranges, "", Coverage.UNCOVERED if seen else Coverage.UNSEEN, (), why)
    server = cluster.find(member)
    if server is None:
        why = f"their primary {member.address} is not in the site"
        return Shard(ranges, member.address, Coverage.UNSEEN, (), why)
    coverage, why = _silence(server, member)
    return Shard(ranges, server.name, coverage, (), why)


def _silence(server: ServerFacts, member: Member) -> tuple[Coverage, str]:
    """Why the owner of slots does not serve them, and whether that is known or only unseen."""
    if server.answer is Answer.ANSWERED and server.role is Role.PRIMARY:
        return Coverage.UNCOVERED, f"{server.name} says that the cluster is down"
    if server.answer is Answer.ANSWERED:
        return Coverage.UNCOVERED, f"{server.name} is a {server.role} now and nobody has taken over"
    why = f"{server.name} {server.why}"
    if member.failed:
        return Coverage.UNCOVERED, f"{why}, and the cluster agreed that it is gone"
    gone = server.answer is Answer.REFUSED or (server.answer is Answer.HUNG and server.timeouts > 1)
    return (Coverage.UNCOVERED if gone else Coverage.UNSEEN), why


def _judgement(cluster: _Cluster, shards: tuple[Shard, ...]) -> tuple[Adherence, str]:
    if not cluster.answering:
        adherence = Adherence.BROKEN if _all_refused(cluster) else Adherence.NOT_MEASURED
        return adherence, "no server answers: " + "; ".join(f"{s.name} {s.why}" for s in cluster.servers)
    uncovered = [s for s in shards if s.coverage is Coverage.UNCOVERED]
    if uncovered:
        return Adherence.BROKEN, "; ".join(_uncovered_words(s) for s in uncovered)
    risks = [
        *(f"{s.primary} has no linked replica" for s in shards if s.coverage is Coverage.SERVED and not s.replicas),
        *(f"{s.name} {s.why}" for s in cluster.servers if s.answer in (Answer.REFUSED, Answer.HUNG)),
        *(f"{s.name} is a replica without link" for s in cluster.answering if s.role is Role.REPLICA and not s.link_up),
        *(f"{s.name} is a primary without slots" for s in cluster.answering if s.role is Role.PRIMARY and not s.slots),
        *_strangers(cluster),
    ]
    if risks:
        return Adherence.AT_RISK, "; ".join(risks)
    unseen = [f"slots {slot.words(s.slots)}: {s.why}" for s in shards if s.coverage is Coverage.UNSEEN]
    unseen += [f"{s.name} {s.why}" for s in cluster.servers if s.answer is not Answer.ANSWERED]
    if unseen:
        return Adherence.NOT_MEASURED, "; ".join(unseen)
    return Adherence.HOLDS, "every slot has a primary that answers, and every primary a linked replica"


def _strangers(cluster: _Cluster) -> list[str]:
    """Servers of another cluster, named by mistake: their slots would hide that ours are missing."""
    found = []
    for server in cluster.answering:
        known = {member.node_id for member in server.members}
        unknown = [other.name for other in cluster.answering if other.node_id not in known]
        if unknown:
            found.append(f"{server.name} does not know {', '.join(unknown)}")
    return found


def _uncovered_words(shard: Shard) -> str:
    return f"slots {slot.words(shard.slots)} ({slot.count(shard.slots)} of {SLOTS}) are not served: {shard.why}"


def _all_refused(cluster: _Cluster) -> bool:
    return all(s.answer is Answer.REFUSED for s in cluster.servers)


def _figure(cluster: _Cluster, shards: tuple[Shard, ...], slots_served: int) -> str:
    if not cluster.answering:
        return f"0 of {len(cluster.servers)} servers answer"
    served = [s for s in shards if s.coverage is Coverage.SERVED]
    copied = sum(1 for s in served if s.replicas)
    return (
        f"{slots_served} of {SLOTS} slots served, {copied} of {len(served)} primaries with a linked replica, "
        f"{len(cluster.answering)} of {len(cluster.servers)} servers answer"
    )


def _remembered(served: list[str], previous: SessionVerdict | None) -> list[str]:
    """Owner of each slot, or whoever served it last."""
    before = slot.owner_map((owner, 0, (slots,)) for slots, owner in previous.owners) if previous else served
    return [now or then for now, then in zip(served, before, strict=True)]


def _hand_overs(owners: Ranges, previous: SessionVerdict | None, cluster: _Cluster, now: datetime) -> list[Event]:
    if previous is None or previous.owners == owners:
        return []
    before = slot.owner_map((owner, 0, (slots,)) for slots, owner in previous.owners)
    after = slot.owner_map((owner, 0, (slots,)) for slots, owner in owners)
    moves = [f"{a} {b}" if a and b and a != b else "" for a, b in zip(before, after, strict=True)]
    events = []
    for move, ranges in slot.grouped(slot.ranges(moves)).items():
        if move:
            giver, taker = move.split()
            events.append(_hand_over(giver, taker, slot.words(ranges), cluster, now))
    return events


def _hand_over(giver: str, taker: str, ranges: str, cluster: _Cluster, now: datetime) -> Event:
    old = next((s for s in cluster.servers if s.name == giver), None)
    if old is not None and old.answer is Answer.ANSWERED and old.role is Role.PRIMARY:
        reason = f"slots {ranges} moved from {giver} to {taker}"
        return Event("slots moved", reason, ClauseId.ZDT_1_1B, now)
    state = "is no longer configured" if old is None else old.why or f"is a {old.role} now"
    reason = f"{taker} took over slots {ranges} from {giver}, which {state}"
    return Event("failover", reason, ClauseId.ZDT_1_1B, now)


def _changes(adherence: Adherence, why: str, previous: SessionVerdict | None, now: datetime) -> list[Event]:
    if previous is not None and previous.adherence is adherence:
        return []
    before = f"was: {previous.adherence}" if previous else "first look"
    return [Event("standing", f"session cluster: {adherence} ({before}): {why}", ClauseId.ZDT_1_1B, now)]
