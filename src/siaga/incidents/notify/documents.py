"""A thread of messages as JSON, kept over restarts (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

from siaga.incidents.model import Level
from siaga.incidents.notify.message import Event, Message
from siaga.incidents.notify.routes import Thread


def thread_document(thread: Thread) -> dict[str, Any]:
    """A thread as JSON."""
    queue = [
        {**asdict(m), "level": int(m.level), "at": m.at.isoformat(), "onset": m.onset.isoformat()} for m in thread.queue
    ]
    return {**asdict(thread), "queue": queue}


def thread_from(document: Mapping[str, Any]) -> Thread:
    """Read it back; KeyError, ValueError or TypeError where it is something else."""
    queue = tuple(
        Message(
            **{
                **m,
                "event": Event(m["event"]),
                "level": Level(m["level"]),
                "at": datetime.fromisoformat(m["at"]),
                "onset": datetime.fromisoformat(m["onset"]),
            }
        )
        for m in document["queue"]
    )
    return Thread(**{**document, "queue": queue})
