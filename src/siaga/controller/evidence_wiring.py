"""The evidence of a platform, opened by who leads."""

from __future__ import annotations

import time

import structlog

from siaga.controller import state, state_import
from siaga.controller.recording import Recording
from siaga.controller.state_version import evidence_directory, evidence_origin, keys_directory
from siaga.errors import SiagaError
from siaga.evidence.checkpoint_file import CheckpointFile
from siaga.evidence.checkpoints import Checkpoints
from siaga.evidence.files import FileStore
from siaga.evidence.log import EvidenceLog
from siaga.evidence.postgres import PostgresStore
from siaga.evidence.store import Store
from siaga.evidence.witness_client import WitnessClient
from siaga.platform import control_database, witness
from siaga.platform.layout import Layout

_log = structlog.get_logger()


async def open_recording(layout: Layout, epoch: int) -> Recording:
    """Open the evidence of this generation, and bring in what the release before recorded."""
    controller = layout.directory("controller")
    found = state.read(controller)
    directory = controller / evidence_directory(found.generation)
    origin = evidence_origin(layout.site.name, found.generation)
    store: Store
    if layout.site.controller.state == "postgresql":
        connect = control_database.connector(layout, f"siaga evidence {epoch}")
        store = PostgresStore(connect, origin=origin, epoch=epoch, directory=directory)
    else:
        store = FileStore(directory, origin)
    client = WitnessClient(witness.socket(layout.place.run))

    def checkpoints(log: EvidenceLog) -> Checkpoints:
        return Checkpoints(
            log,
            client,
            CheckpointFile(directory),
            log.append,
            keys_directory=controller / keys_directory(found.generation),
            now_monotonic_s=time.monotonic(),
            epoch=epoch,
        )

    recording = Recording(
        store, client, checkpoints, spool=controller / "spool", index=controller / "index.json", epoch=epoch
    )
    await recording.open()
    try:
        await state.begin_generation(found, recording, recording.size)
        await state_import.import_records(
            controller, recording, lambda: (line for lines in store.blocks() for line in lines)
        )
    except (SiagaError, OSError) as error:
        # Nothing is lost: the old file stays, and the next start tries again.
        _log.error("the records of the release before were not imported", why=str(error))
    return recording
