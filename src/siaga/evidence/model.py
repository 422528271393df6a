"""The nouns of the evidence (SUM): what is recorded, and what a record may hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from siaga.errors import Exit, SiagaError


class Unrecorded(SiagaError):
    """The evidence can't be written now: what needs a record may not be done (decision 21)."""

    exit_code = Exit.REFUSED


@dataclass(frozen=True, slots=True)
class Record:
    """One decision, act, verdict, approval or change of a clause."""

    kind: str
    """`domain.event`, such as `traffic.drain`."""
    actor: str
    """Who: a user's name, or `controller`."""
    clause: str
    """The clause it is evidence for; empty where there is none."""
    reason: str
    """In words, with its figures and limit."""
    figures: Mapping[str, Any] = field(default_factory=dict)
    """Plain JSON values; never a secret; account ids only as pseudonyms."""
    run: str = ""
    """The run of a runbook that it belongs to."""


class Evidence(Protocol):
    """Where records go. One implementation writes; tests use it too."""

    async def append(self, record: Record) -> int:
        """Return its number once it is durable; Unrecorded when it can't be made so."""
        ...

    async def append_exempt(self, record: Record) -> None:
        """Record what may not wait for the evidence: fence, fail-over, drain, RESUME, undo (decision 21).

        Journaled locally first, in space that was taken beforehand, and moved into the log when that is possible
        again. Never raises; returns without waiting for a disk.
        """
        ...
