"""The version file of the controllers' state, and the first record of a log that continues a lost one."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

from siaga.controller import state_version
from siaga.controller.state_version import StateVersion
from siaga.evidence.model import Evidence, Record
from siaga.hosts.local import write_and_rename
from siaga.sop.clauses import ClauseId

FILE = "state.json"
CONTINUED = "evidence.continued"


def read(directory: Path) -> StateVersion:
    """The version of the state in the controllers' directory; format 0 where there is none. BadInput: see there."""
    path = directory / FILE
    try:
        document = json.loads(path.read_bytes())
    except FileNotFoundError:
        return StateVersion()
    except ValueError:
        document = None
    return state_version.from_document(document, origin=str(path))


def write(directory: Path, found: StateVersion) -> None:
    """Keep it; whole or not at all."""
    write_and_rename(directory / FILE, json.dumps(state_version.to_document(found), indent=1).encode())


def stamp(directory: Path) -> StateVersion:
    """Say that this program wrote the state last; only by who leads, once everything is migrated."""
    stamped = state_version.stamped(read(directory), version("siaga"))
    write(directory, stamped)
    return stamped


async def begin_generation(found: StateVersion, evidence: Evidence, size: int) -> None:
    """Let a new log begin with what is lost and who answers for it; `size` is how many records the log has."""
    if found.continues is None or size > 0:
        return
    lost = found.continues
    record = Record(CONTINUED, str(lost["actor"]), ClauseId.SUM, str(lost["reason"]), dict(lost))
    await evidence.append(record)
