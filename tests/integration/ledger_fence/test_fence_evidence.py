"""The gate's history is taken over into the evidence (DRP-3.2b, SUM)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from fence_server import Ledger

from siaga.controller.fence_watch import FenceWatch
from siaga.errors import Unreachable
from siaga.evidence.files import FileStore
from siaga.evidence.log import EvidenceLog
from siaga.evidence.pseudonyms import Pseudonyms
from siaga.ledger.gate import Gate


class Office:
    """One controller's evidence and what it watches the gate with; `anew` is its next life."""

    def __init__(self, directory: Path, gate: Gate) -> None:
        self.directory = directory
        self.gate = gate
        self.pseudonyms = Pseudonyms(directory / "pseudonyms")

    async def __aenter__(self) -> Office:
        self.log = EvidenceLog(FileStore(self.directory / "log", "test"), spool=self.directory / "spool")
        await self.log.open()
        self.watch = FenceWatch(self.gate.history, self.log, self.records, self.pseudonyms.of)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.log.close()

    async def records(self) -> list[Mapping[str, Any]]:
        return [r for r in await self.log.latest(100) if r["kind"].startswith("fence.")]


@pytest.mark.clause("DRP-3.2b")
async def test_what_changed_the_gate_while_we_were_dead_is_recorded_once(ledger: Ledger, tmp_path: Path) -> None:
    generation = await ledger.raised()
    for _ in range(2):
        async with Office(tmp_path, ledger.gate) as office:
            await office.watch.run_pass()
            await office.watch.run_pass()
            (raised,) = (r for r in await office.records() if r["figures"]["generation"] == generation)
            assert (raised["kind"], raised["actor"], raised["clause"]) == ("fence.raised", "ann", "DRP-3.2b")
    async with Office(tmp_path, ledger.gate) as office:
        await office.watch.run_pass()
        await ledger.gate.release(ledger.proof(), by="bob")
        await office.watch.run_pass()
        assert [(r["kind"], r["actor"]) for r in await office.records()][-2:] == [
            ("fence.raised", "ann"),
            ("fence.released", "bob"),
        ]


async def test_an_account_stands_in_the_evidence_under_its_pseudonym(ledger: Ledger, tmp_path: Path) -> None:
    await ledger.raised()
    await ledger.gate.release_by_override(["acc-7"], "repaired by hand", by="ann")
    async with Office(tmp_path, ledger.gate) as office:
        await office.watch.run_pass()
        found = (await office.records())[-1]
        assert found["kind"] == "fence.released_by_override"
        assert "acc-7" not in str(found)
        (pseudonym,) = found["figures"]["accounts"]
        assert office.pseudonyms.resolve(pseudonym) == "acc-7"
        assert pseudonym in found["reason"]


async def test_a_gate_that_went_back_in_time_loses_no_later_change(ledger: Ledger, tmp_path: Path) -> None:
    async with Office(tmp_path, ledger.gate) as office:
        await ledger.raised()
        await office.watch.run_pass()
        before = len(await office.records())
        # A restore takes the newest lines away; the fence is raised once more afterwards.
        ledger.query("delete from siaga.gate_history where act = 'raised'")
        await ledger.raised()
        await office.watch.run_pass()
        assert len(await office.records()) == before + 1


async def test_a_database_that_is_away_leaves_everything_for_the_next_pass(ledger: Ledger, tmp_path: Path) -> None:
    await ledger.raised()
    async with Office(tmp_path, Gate("host=127.0.0.1 port=9 user=siaga_gate dbname=x")) as office:
        with pytest.raises(Unreachable):
            await office.watch.run_pass()
        office.watch = FenceWatch(ledger.gate.history, office.log, office.records, office.pseudonyms.of)
        await office.watch.run_pass()
        assert (await office.records())[-1]["kind"] == "fence.raised"
