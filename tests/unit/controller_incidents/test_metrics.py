"""The minutes as Prometheus reads them: the names that the exported alert rules ask for (ZDT-1)."""

from __future__ import annotations

from siaga.controller.metrics import gauges
from siaga.uptime import export
from siaga.uptime.model import Outage, Step


def test_values_of_one_name_are_one_metric_with_their_labels() -> None:
    outage = Outage(1_000, None, True, ("sg",), 1_000_000, (Step.BALANCE,), "balance: 503", 2_000)
    found = {metric.name: metric for metric in gauges(export.samples(None, {"1h": 14.5, "5m": 20.0}, outage))}
    burning = {sample.labels["window"]: sample.value for sample in found[export.BURN].samples}
    assert burning == {"1h": 14.5, "5m": 20.0}
    assert [sample.value for sample in found[export.HARD_DOWN].samples] == [1.0]
