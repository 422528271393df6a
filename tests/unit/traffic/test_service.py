"""The traffic loop: what it does when its hands fail."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from siaga.errors import Refused
from siaga.evidence.model import Unrecorded
from siaga.site.load import embedded
from siaga.sop.adherence import Adherence
from siaga.traffic.model import Decision, Outcome, Probe, ProxyView
from siaga.traffic.service import TrafficService

NODES = ("sgp-1", "sgp-2", "fra-1", "fra-2")


class Hands:
    """Everything the loop touches, in memory; each can be made to fail."""

    def __init__(self) -> None:
        self.published: list[tuple[str, dict[str, int]]] = []
        self.recorded: list[str] = []
        self.saved: Any = None
        self.refusal = ""
        self.disk_full = False
        self.unrecorded = False
        self.objected = ""
        self.now_s = 1_000.0
        self.probes: tuple[Probe, ...] = ()

    def start_due(self, now_s: float, intervals_s: dict[str, float]) -> None:
        assert set(intervals_s) == set(NODES)

    def collect(self) -> tuple[Probe, ...]:
        return self.probes

    async def publish(self, region: str, weights: Mapping[str, int]) -> str:
        if not self.refusal:
            self.published.append((region, dict(weights)))
        return self.refusal

    async def views(self) -> tuple[ProxyView, ...]:
        return ()

    async def objection(self, decision: Decision) -> str:
        return self.objected

    async def record(self, decision: Decision, actor: str) -> None:
        if self.unrecorded and not decision.urgent:
            raise Unrecorded("the evidence can't be written", hint="Make room.")
        self.recorded.append(decision.reason)

    async def save(self, document: object) -> None:
        if self.disk_full:
            raise OSError(28, "No space left on device")
        self.saved = document

    def service(self, remembered: object | None = None) -> TrafficService:
        return TrafficService(
            embedded(),
            self,
            self,
            authority=self,
            save=self.save,
            remembered=remembered,
            clock=lambda: self.now_s,
        )


async def bad_probes(hands: Hands, service: TrafficService, bad: str, seconds: int = 6) -> None:
    """Passes in which every vantage point sees one node fail."""
    for _ in range(2 * seconds):
        hands.now_s += 0.5
        hands.probes = tuple(
            Probe(node, vantage, hands.now_s, Outcome.ERROR if node == bad else Outcome.OK, 5.0)
            for node in NODES
            for vantage in ("sgp", "fra")
        )
        await service.run_pass()


async def test_at_its_start_it_makes_the_data_plane_agree_with_what_it_remembers() -> None:
    hands = Hands()
    await hands.service().drain("sgp-1", "ann", dry_run=False)
    again = Hands()
    await again.service(remembered=hands.saved).run_pass()
    assert ("sgp", {"sgp-1": 0, "sgp-2": 100}) in again.published


async def test_what_the_data_plane_did_not_confirm_is_published_again_and_told() -> None:
    hands = Hands()
    service = hands.service()
    hands.refusal = "Envoy did not confirm within 2 s"
    await service.drain("sgp-1", "ann", dry_run=False)
    assert hands.published == []
    assert "Envoy did not confirm" in service.show()["data_plane_trouble"]
    hands.refusal = ""
    await service.run_pass()
    assert ("sgp", {"sgp-1": 0, "sgp-2": 100}) in hands.published
    assert service.show()["data_plane_trouble"] == ""


async def test_a_full_disk_delays_no_drain() -> None:
    hands = Hands()
    service = hands.service()
    hands.disk_full = True
    with pytest.raises(OSError, match="No space left"):
        await service.drain("sgp-1", "ann", dry_run=False)
    assert ("sgp", {"sgp-1": 0, "sgp-2": 100}) in hands.published
    assert hands.recorded == ["sgp-1 drained by ann"]


@pytest.mark.clause("SUM")
async def test_what_cannot_be_recorded_is_not_done_unless_it_stops_the_bleeding() -> None:
    hands = Hands()
    service = hands.service()
    hands.unrecorded = True
    await service.drain("sgp-1", "ann", dry_run=False)
    assert ("sgp", {"sgp-1": 0, "sgp-2": 100}) in hands.published
    before = list(hands.published)
    with pytest.raises(Unrecorded):
        await service.restore("sgp-1", "ann", dry_run=False)
    assert hands.published == before


@pytest.mark.clause("SUM")
async def test_an_objection_leaves_a_bad_node_in_place_and_is_told_once() -> None:
    hands = Hands()
    hands.objected = "ZDT-1.1a is in mode `advise`"
    service = hands.service()
    await bad_probes(hands, service, "sgp-1")
    node = next(n for n in service.show()["nodes"] if n["node"] == "sgp-1")
    assert (node["weight_percent"], node["verdict"]) == (100, "bad")
    assert hands.objected in node["why"]
    told = [d["reason"] for d in service.show()["decisions"] if "not done" in d["reason"]]
    assert len(told) == 1
    assert told[0].startswith("sgp-1 drained")
    assert told[0].endswith(f"not done: {hands.objected}")
    assert not any(reason.startswith("sgp-1 drained") for reason in hands.recorded)
    hands.objected = ""
    await bad_probes(hands, service, "sgp-1", seconds=1)
    assert ("sgp", {"sgp-1": 0, "sgp-2": 100}) in hands.published
    assert sum(reason.startswith("sgp-1 drained") for reason in hands.recorded) == 1


async def test_a_dry_run_changes_nothing() -> None:
    hands = Hands()
    decision = await hands.service().drain("sgp-1", "ann", dry_run=True)
    assert decision.reason == "sgp-1 drained by ann"
    assert (hands.published, hands.recorded, hands.saved) == ([], [], None)


async def test_the_last_node_is_refused_and_nothing_is_published() -> None:
    hands = Hands()
    service = hands.service()
    for node in NODES[:-1]:
        await service.drain(node, "ann", dry_run=False)
    before = list(hands.published)
    with pytest.raises(Refused):
        await service.drain(NODES[-1], "ann", dry_run=False)
    assert hands.published == before


async def test_without_probes_nothing_is_said_to_hold() -> None:
    service = Hands().service()
    await service.run_pass()
    nodes, layer_above = service.standing()
    assert nodes.adherence is Adherence.NOT_MEASURED
    assert layer_above.adherence is Adherence.NOT_MEASURED
