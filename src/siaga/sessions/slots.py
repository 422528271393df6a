"""Arithmetic of hash slots: who owns which, and what changed hands."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from itertools import groupby

from siaga.sessions.model import SLOTS, Ranges, SlotRange


def owner_map(claims: Iterable[tuple[str, int, tuple[SlotRange, ...]]]) -> list[str]:
    """Owner of each slot by (owner, epoch, slots) claims; the highest epoch wins, empty where nobody claims."""
    owners = [""] * SLOTS
    for owner, _, slots in sorted(claims, key=lambda claim: claim[1]):
        for first, last in slots:
            owners[first : last + 1] = [owner] * (last + 1 - first)
    return owners


def ranges(owners: list[str]) -> Ranges:
    """The map as ranges in slot order."""
    found: list[tuple[SlotRange, str]] = []
    first = 0
    for owner, run in groupby(owners):
        length = len(list(run))
        found.append(((first, first + length - 1), owner))
        first += length
    return tuple(found)


def grouped(pairs: Iterable[tuple[SlotRange, str]]) -> Mapping[str, tuple[SlotRange, ...]]:
    """Each owner's ranges."""
    found: defaultdict[str, list[SlotRange]] = defaultdict(list)
    for slot_range, owner in pairs:
        found[owner].append(slot_range)
    return {owner: tuple(slots) for owner, slots in found.items()}


def count(slots: Iterable[SlotRange]) -> int:
    """How many slots the ranges hold."""
    return sum(last - first + 1 for first, last in slots)


def words(slots: Iterable[SlotRange]) -> str:
    """The ranges as an operator writes them: `0-5460, 9000`."""
    return ", ".join(f"{first}-{last}" if first != last else f"{first}" for first, last in slots)
