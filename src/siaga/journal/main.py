"""The journal's own process, under the keeper: it goes on when the controller is dead.

Run as `python -m siaga.journal.main CONFIG.json`.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import structlog
import uvloop

from siaga.errors import SiagaError
from siaga.journal.base import Base
from siaga.journal.config import JournalConfig, load
from siaga.journal.consumer import Consumer
from siaga.journal.store import Store
from siaga.ledger.load import load as load_map
from siaga.ledger.map import LedgerMap


def main(path: str) -> int:
    """Consume until a signal ends us."""
    structlog.configure(
        processors=[
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.add_log_level,
            structlog.processors.JSONRenderer(),
        ]
    )
    try:
        config = load(Path(path))
        ledger_map = load_map(config.map)
        store = Store(config.directory, log_bytes_max=config.log_bytes_max)
    except SiagaError as error:
        print(error, file=sys.stderr)
        return int(error.exit_code)
    uvloop.run(_run(config, ledger_map, store))
    return 0


async def _run(config: JournalConfig, ledger_map: LedgerMap, store: Store) -> None:
    stop = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, stop.set)
    try:
        await Consumer(config, store, Base(ledger_map, config.marker)).run(stop)
    finally:
        store.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
