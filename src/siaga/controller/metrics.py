"""What Prometheus reads at `/metrics`: computed when asked, from the same values the CLI shows."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from siaga.controller.loops import Loop
from siaga.incidents.model import Level
from siaga.incidents.service import IncidentsService
from siaga.sop.adherence import WORST_FIRST, Standing, standings
from siaga.traffic.service import TrafficService
from siaga.uptime import export
from siaga.uptime.service import UptimeService


class _Figures(Collector):
    def __init__(
        self,
        loops: Sequence[Loop],
        traffic: TrafficService,
        uptime: UptimeService,
        incidents: IncidentsService,
        measured: Callable[[], tuple[Standing, ...]],
    ) -> None:
        self._loops = loops
        self._traffic = traffic
        self._uptime = uptime
        self._incidents = incidents
        self._measured = measured

    def collect(self) -> Iterable[Metric]:
        passes = CounterMetricFamily("siaga_loop_passes", "Passes of a loop.", labels=["loop"])
        errors = CounterMetricFamily("siaga_loop_errors", "Failed passes of a loop.", labels=["loop"])
        age = GaugeMetricFamily("siaga_loop_age_seconds", "Since the last pass ended.", labels=["loop"])
        for loop in self._loops:
            passes.add_metric([loop.name], loop.passes)
            errors.add_metric([loop.name], loop.errors)
            age.add_metric([loop.name], time.monotonic() - loop.finished_at)
        weight = GaugeMetricFamily("siaga_node_weight_percent", "Share of its traffic a node gets.", labels=["node"])
        latency = GaugeMetricFamily("siaga_node_probe_p50_ms", "Median probe, distance subtracted.", labels=["node"])
        for node in self._traffic.show()["nodes"]:
            weight.add_metric([node["node"]], node["weight_percent"])
            if node["latency_p50_ms"] is not None:
                latency.add_metric([node["node"]], node["latency_p50_ms"])
        clauses = GaugeMetricFamily("siaga_clause", "1 for the state a clause is in.", labels=["clause", "state"])
        for standing in standings(self._measured(), datetime.now(UTC)):
            for state in WORST_FIRST:
                clauses.add_metric([str(standing.clause), str(state)], float(standing.adherence is state))
        opened = GaugeMetricFamily("siaga_incidents_open", "Open incidents by level.", labels=["level"])
        for level in Level:
            opened.add_metric([str(int(level))], sum(one.level is level for one in self._incidents.open))
        minutes = gauges(export.samples(self._uptime.latest, self._uptime.burn_rates(), self._uptime.outage))
        return (passes, errors, age, weight, latency, clauses, opened, *minutes)


def gauges(samples: Iterable[export.Sample]) -> list[Metric]:
    """One metric a name, with all its values."""
    found: dict[str, GaugeMetricFamily] = {}
    for sample in samples:
        names = list(sample.labels)
        family = found.setdefault(sample.name, GaugeMetricFamily(sample.name, sample.help, labels=names))
        family.add_metric([sample.labels[name] for name in names], sample.value)
    return list(found.values())


def exposition(
    loops: Sequence[Loop],
    traffic: TrafficService,
    uptime: UptimeService,
    incidents: IncidentsService,
    measured: Callable[[], tuple[Standing, ...]],
) -> Callable[[], bytes]:
    """A function that gives the page."""
    registry = CollectorRegistry()
    registry.register(_Figures(loops, traffic, uptime, incidents, measured))
    return lambda: generate_latest(registry)
