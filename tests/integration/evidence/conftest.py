"""A log on disk for these tests, closed afterwards."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from signed_evidence import ORIGIN

from siaga.evidence.files import FileStore
from siaga.evidence.log import EvidenceLog
from siaga.evidence.signatures import Checkpoint
from siaga.evidence.store import Store

OpenLog = Callable[..., Awaitable[EvidenceLog]]


@pytest.fixture
async def open_log(tmp_path: Path) -> AsyncIterator[OpenLog]:
    """Opens the log of this test's directory, or of another store."""
    async with AsyncExitStack() as stack:

        async def opened(
            store: Store | None = None, *, seen: Checkpoint | None = None, epoch: int = 0, deadline_s: float = 5.0
        ) -> EvidenceLog:
            made = store or FileStore(tmp_path / "evidence", ORIGIN)
            log = EvidenceLog(made, spool=tmp_path / "spool", epoch=epoch, deadline_s=deadline_s)
            stack.push_async_callback(log.close)
            await log.open(seen=seen)
            return log

        yield opened
