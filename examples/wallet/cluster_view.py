"""Who holds which session: the cluster as one of its servers describes it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

SLOTS = 16_384


@dataclass(frozen=True, slots=True)
class Shard:
    """A range of slots' primary and its replicas, as addresses."""

    primary: str
    replicas: tuple[str, ...]


@dataclass(frozen=True)
class ClusterView:
    """Slot ranges with their shards; the epoch tells the newer of two views."""

    epoch: int
    ranges: tuple[tuple[int, int, Shard], ...]
    addresses: tuple[str, ...]

    @cached_property
    def shards(self) -> tuple[Shard, ...]:
        """Every shard once."""
        return tuple(dict.fromkeys(shard for _, _, shard in self.ranges))

    @cached_property
    def _by_slot(self) -> list[Shard | None]:
        slots: list[Shard | None] = [None] * SLOTS
        for begin, end, shard in self.ranges:
            slots[begin : end + 1] = [shard] * (end + 1 - begin)
        return slots

    def shard(self, slot: int) -> Shard | None:
        """The shard that owns a slot; None when nobody does."""
        return self._by_slot[slot]


def parse_nodes(text: str) -> ClusterView:
    """Read `CLUSTER NODES` (https://valkey.io/commands/cluster-nodes/).

    The epoch is the largest config epoch of a primary with slots: a promotion always takes a higher one, so a
    primary that was paused and still believes in itself describes an older cluster.
    """
    primaries: dict[str, tuple[str, int, list[tuple[int, int]]]] = {}
    replicas: dict[str, list[str]] = {}
    addresses: list[str] = []
    for line in text.splitlines():
        identifier, address, flags, master, _, _, epoch, _, *slots = line.split()
        address = address.partition("@")[0].partition(",")[0]
        flag_set = set(flags.split(","))
        if address.startswith(":") or flag_set & {"noaddr", "handshake"}:
            continue
        addresses.append(address)
        if "master" in flag_set:
            owned = [_range(slot) for slot in slots if not slot.startswith("[")]
            if owned:
                primaries[identifier] = (address, int(epoch), owned)
        elif "fail" not in flag_set:
            replicas.setdefault(master, []).append(address)
    ranges: list[tuple[int, int, Shard]] = []
    for identifier, (address, _, owned) in primaries.items():
        shard = Shard(address, tuple(sorted(replicas.get(identifier, []))))
        ranges += [(begin, end, shard) for begin, end in owned]
    ranges.sort(key=lambda owned_range: owned_range[0])
    return ClusterView(max((epoch for _, epoch, _ in primaries.values()), default=0), tuple(ranges), tuple(addresses))


def _range(slot: str) -> tuple[int, int]:
    begin, _, end = slot.partition("-")
    return int(begin), int(end or begin)
