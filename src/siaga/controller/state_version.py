"""The version of Siaga's own state, and which program may work with it (pure).

The rule: changes between two formats only add. So a state that format N wrote is readable by the program of format
N - 1, which makes the way back by one version safe; what it does not know it leaves as it is. Going back two
versions is refused. Whoever leads writes its own format, and every migration looks for itself whether there is
anything to do, so that a state that went back is simply migrated again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from siaga.errors import BadInput

FORMAT = 1
"""Format 0 is the release before there was one: no version file, records in `records.jsonl`."""


@dataclass(frozen=True, slots=True)
class StateVersion:
    """What the version file says."""

    format: int = 0
    siaga: str = ""
    """The version of the program that wrote it last."""
    generation: int = 1
    """Which evidence log: 1, and one more each time records were lost for good and somebody answered for it."""
    continues: Mapping[str, Any] | None = None
    """Of a generation after the first: where the one before ended, what is lost, who answers for it and why."""
    more: Mapping[str, Any] = field(default_factory=dict)
    """What a newer version added."""


def from_document(document: object, *, origin: str) -> StateVersion:
    """Read the version file's content; BadInput when it is damaged or too new for this program."""
    if not isinstance(document, Mapping):
        raise _damaged(origin, "not a table")
    rest = dict(document)
    found_format, siaga, generation = rest.pop("format", None), rest.pop("siaga", None), rest.pop("generation", 1)
    continues = rest.pop("continues", None)
    if type(found_format) is not int or found_format < 0:
        raise _damaged(origin, f"format {found_format!r}, expected a whole number")
    check(found_format, str(siaga), origin=origin)
    if not isinstance(siaga, str) or type(generation) is not int or generation < 1:
        raise _damaged(origin, f"siaga {siaga!r}, generation {generation!r}")
    if continues is not None and not isinstance(continues, Mapping):
        raise _damaged(origin, f"continues {continues!r}, expected a table")
    return StateVersion(found_format, siaga, generation, continues, rest)


def check(found: int, siaga: str, *, origin: str) -> None:
    """Refuse a state that is more than one version ahead of this program; BadInput says what to do."""
    if found > FORMAT + 1:
        raise BadInput(
            f"{origin} has state format {found}, written by siaga {siaga}; this program reads up to {FORMAT + 1}",
            hint="Use a newer siaga, or go back one version at a time. Nothing was changed.",
        )


def to_document(version: StateVersion) -> dict[str, Any]:
    """The version file's content; what a newer version added stays."""
    return {
        **version.more,
        "format": version.format,
        "siaga": version.siaga,
        "generation": version.generation,
        "continues": version.continues,
    }


def stamped(found: StateVersion, siaga: str) -> StateVersion:
    """What this program writes once it leads."""
    return replace(found, format=FORMAT, siaga=siaga)


def evidence_origin(site: str, generation: int) -> str:
    """The name of a site's evidence log."""
    return f"siaga/{site}/{generation}"


def evidence_directory(generation: int) -> str:
    """The directory of a generation's log, below the controllers' own."""
    return "evidence" if generation == 1 else f"evidence-{generation}"


def keys_directory(generation: int) -> str:
    """The directory of the keys that sign a generation's log, beside it: a key is made for one log."""
    return "keys" if generation == 1 else f"keys-{generation}"


def _damaged(origin: str, why: str) -> BadInput:
    return BadInput(
        f"{origin} is damaged: {why}", hint="Restore it from a backup of the state: `siaga state restore FILE`."
    )
