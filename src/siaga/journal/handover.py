"""The journal's hand-over at a switch (decision 10): the old side up to the marker, the new one from it on, never both.

The switch's runbook writes the order into the journal's directory; the consumer carries it out once it has read the
marker. Done is one rename, so that a kill leaves the order or its completion, nothing in between.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from siaga.errors import BadInput
from siaga.hosts.local import sync_directory, write_and_rename

_ORDER = "handover.json"
_SOURCE = "source.json"


@dataclass(frozen=True, slots=True)
class Source:
    """Where the journal reads from after a marker."""

    conninfo: str
    """Without a password, as in the configuration."""
    slot: str
    """Made on the new side before the switch, so that it holds everything that side wrote itself."""
    marker: int
    """The old side is read up to this marker, with it."""


def order(directory: Path, source: Source) -> None:
    """Tell the consumer to go over; it does so by itself, also after a restart."""
    write_and_rename(directory / _ORDER, json.dumps(asdict(source)).encode())


def ordered(directory: Path) -> Source | None:
    """The order that waits for its marker."""
    return _read(directory / _ORDER)


def current(directory: Path) -> Source | None:
    """Where the journal went last; None while it reads from where its configuration says."""
    return _read(directory / _SOURCE)


def complete(directory: Path) -> None:
    """The marker was read: from now on the new side is the source."""
    (directory / _ORDER).replace(directory / _SOURCE)
    sync_directory(directory)


def _read(path: Path) -> Source | None:
    try:
        return Source(**json.loads(path.read_bytes()))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise BadInput(
            f"{path.name} is not a hand-over: {error}", hint="Let the switch's runbook write it again."
        ) from error
