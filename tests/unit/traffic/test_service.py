"""The traffic loop: what it does when its hands fail."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from siaga.errors import Refused
from siaga.site.load import embedded
from siaga.sop.adherence import Adherence
from siaga.traffic.model import Probe, ProxyView
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

    def start_due(self, now_s: float, intervals_s: dict[str, float]) -> None:
        assert set(intervals_s) == set(NODES)

    def collect(self) -> tuple[Probe, ...]:
        return ()

    async def publish(self, region: str, weights: Mapping[str, int]) -> str:
        if not self.refusal:
            self.published.append((region, dict(weights)))
        return self.refusal

    async def views(self) -> tuple[ProxyView, ...]:
        return ()

    async def record(self, kind: str, actor: str, reason: str, figures: Mapping[str, object]) -> None:
        if self.disk_full:
            raise OSError(28, "No space left on device")
        self.recorded.append(reason)

    async def save(self, document: object) -> None:
        if self.disk_full:
            raise OSError(28, "No space left on device")
        self.saved = document

    def service(self, remembered: object | None = None) -> TrafficService:
        return TrafficService(embedded(), self, self, record=self.record, save=self.save, remembered=remembered)


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


async def test_a_full_disk_delays_no_drain_and_loses_no_record() -> None:
    hands = Hands()
    service = hands.service()
    hands.disk_full = True
    with pytest.raises(OSError, match="No space left"):
        await service.drain("sgp-1", "ann", dry_run=False)
    assert ("sgp", {"sgp-1": 0, "sgp-2": 100}) in hands.published
    assert hands.recorded == []
    hands.disk_full = False
    await service.run_pass()
    assert hands.recorded == ["sgp-1 drained by ann"]


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
