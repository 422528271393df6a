"""`levers.json`: read with suspicion, written beside and renamed."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

from siaga.controller.levers_state import State, failed_safe, from_document, halted, to_document
from siaga.errors import BadInput
from siaga.hosts.local import write_and_rename


def load(path: Path, now: datetime) -> State:
    """The state in the file; none yet is a fresh one, a damaged one is kept beside it and reads as halted."""
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return State()
    except OSError as error:
        return failed_safe(f"{path.name} can't be read ({error.strerror})", now)
    try:
        return from_document(json.loads(text))
    except (ValueError, RecursionError, BadInput) as error:
        return failed_safe(f"{path.name} is damaged, {_kept_aside(path, text)}: {_first(error)}", now)


def save(path: Path, state: State) -> None:
    """Durable when it returns; OSError when it can't be."""
    write_and_rename(path, json.dumps(to_document(state), indent=2, sort_keys=True).encode() + b"\n")


def halt_while_dead(path: Path, reason: str, actor: str, now: datetime) -> State:
    """Pull the safety lever while no controller lives: the next one starts halted, and records it."""
    state = halted(load(path, now), reason, actor, now, recorded=False)
    save(path, state)
    return state


def _kept_aside(path: Path, content: bytes) -> str:
    # Copied, not moved: without the damaged file a second start would find none at all, and act.
    aside = path.with_suffix(".damaged")
    try:
        write_and_rename(aside, content)
    except OSError as error:
        return f"no copy could be kept ({error.strerror})"
    return f"a copy is kept as {aside.name}"


def _first(error: Exception) -> str:
    return (error.message if isinstance(error, BadInput) else str(error)).splitlines()[0][:200]
