"""The witness of the evidence: a process of its own, its key and memory in a directory of its own (decision 21)."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from siaga.errors import Unreachable
from siaga.evidence.witness_client import WitnessClient
from siaga.hosts.keeper import Spec
from siaga.platform.engines import Engines
from siaga.platform.layout import Layout

NAME = "witness"
ANSWERS_WITHIN_S = 10.0


def socket(run: Path) -> Path:
    """Where it answers."""
    return run / "witness.sock"


def spec(layout: Layout, engines: Engines) -> Spec:
    """The witness, kept alive by the keeper and not by the controller, whose log it watches."""
    return Spec(
        name=NAME,
        kind="witness",
        argv=(
            *engines.python,
            "-m",
            "siaga.evidence.witness",
            str(layout.directory(NAME)),
            str(socket(layout.place.run)),
        ),
        log=str(layout.log(NAME)),
        env=engines.python_env,
    )


async def silent(layout: Layout, deadline_s: float) -> str:
    """Why it doesn't answer within the deadline; empty when it does."""
    client = WitnessClient(socket(layout.place.run), deadline_s=2.0)
    deadline = time.monotonic() + deadline_s
    while True:
        try:
            await client.public_key()
        except Unreachable as error:
            if time.monotonic() > deadline:
                return f"{error.message}; see {layout.log(NAME)}"
            await asyncio.sleep(0.05)
        else:
            return ""
