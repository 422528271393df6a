"""May this checkpoint be cosigned? The witness's judgement, pure: what it saw last against what it is shown."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from siaga.evidence.merkle import verify_consistency
from siaga.evidence.notes import log_checkpoint, successors
from siaga.evidence.signatures import BadNote, Checkpoint, Key, parse_note


class Refusal(StrEnum):
    """Why a checkpoint is not cosigned."""

    FORK = "fork"
    """It belongs to another history than the one seen."""
    SHRINK = "shrink"
    """It has lost records that were seen."""
    UNKNOWN_KEY = "unknown key"
    """Neither the pinned key signed it, nor one that the pinned key handed over to."""
    CONFLICT = "conflict"
    """The proof starts elsewhere than at what was seen last: somebody else was faster. Ask again."""
    STALE = "stale"
    """A controller asks that does not lead any more."""
    BAD_REQUEST = "bad request"
    """It can't be judged at all."""


REMEMBERED = frozenset({Refusal.FORK, Refusal.SHRINK, Refusal.UNKNOWN_KEY})
"""What speaks against a log, and is kept until a person has looked."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What was cosigned last for a log, and the key that it is known by."""

    checkpoint: Checkpoint
    key: Key
    epoch: int = 0
    """The leadership under which it was shown; 0 where there is one controller alone."""


@dataclass(frozen=True, slots=True)
class Request:
    """A signed checkpoint with the proof that it extends the tree of `old_size`."""

    note: str
    old_size: int
    proof: tuple[bytes, ...]
    key: Key
    """The log's key; it counts at the first sight of a log alone, and is pinned then."""
    handovers: tuple[str, ...] = ()
    """From the log's first key to the present one."""
    epoch: int = 0


@dataclass(frozen=True, slots=True)
class NotCosigned:
    """The refusal, and why."""

    refusal: Refusal
    why: str


def judge(seen: Seen | None, request: Request) -> Seen | NotCosigned:
    """What the log is known by from now on, or why not."""
    try:
        known = successors(seen.key, request.handovers) if seen else (request.key,)
        key = parse_note(request.note).signed_by(reversed(known))
    except BadNote as error:
        return NotCosigned(Refusal.UNKNOWN_KEY, str(error))
    if key is None:
        return NotCosigned(Refusal.UNKNOWN_KEY, f"signed by none of the keys known for `{known[0].name}`")
    try:
        shown = Seen(log_checkpoint(request.note, key), key, request.epoch)
    except BadNote as error:
        return NotCosigned(Refusal.BAD_REQUEST, str(error))
    if seen is None:
        return _first(shown, request)
    if shown.epoch < seen.epoch:
        # It has not heard of what its successor recorded: behind, and no fault of the log.
        return NotCosigned(Refusal.STALE, f"shown under leadership {shown.epoch}, {seen.epoch} leads")
    return _extends(seen.checkpoint, shown, request)


def _first(shown: Seen, request: Request) -> Seen | NotCosigned:
    if shown.checkpoint.size == 0:
        return NotCosigned(Refusal.BAD_REQUEST, "an empty log has nothing to witness")
    if request.old_size != 0 or request.proof:
        return NotCosigned(Refusal.CONFLICT, f"nothing was seen of `{shown.checkpoint.origin}`, expected no proof")
    return shown


def _extends(seen: Checkpoint, shown: Seen, request: Request) -> Seen | NotCosigned:
    new = shown.checkpoint
    if new.size < seen.size:
        lost = f"records {new.size} to {seen.size - 1} are lost"
        return NotCosigned(Refusal.SHRINK, f"{new.size} records shown, {seen.size} seen: {lost}")
    if request.old_size != seen.size:
        return NotCosigned(Refusal.CONFLICT, f"the proof starts at {request.old_size} records, {seen.size} were seen")
    if new.size == seen.size:
        if (new.root, new.chain) != (seen.root, seen.chain):
            return NotCosigned(Refusal.FORK, f"two different logs of {seen.size} records")
        return shown
    if not verify_consistency(seen.size, seen.root, new.size, new.root, request.proof):
        return NotCosigned(Refusal.FORK, f"no proof that the log of {new.size} records extends the {seen.size} seen")
    return shown
