"""A site's November 2026, as its evidence would have it; tests change what they are about."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from siaga.evidence.document import iso
from siaga.evidence.model import Record
from siaga.reports import standings
from siaga.reports.model import DayUptime, Outage, Report, Seal, UptimeMonth
from siaga.reports.month import Inputs, gather
from siaga.reports.records import MonthRecords
from siaga.runbooks import calendar_memory
from siaga.runbooks.appointments import Appointment, Occurrence
from siaga.runbooks.calendar import State, Verdict
from siaga.runbooks.windows import Window
from siaga.sop.adherence import Adherence
from siaga.sop.clauses import ClauseId
from siaga.sop.limits import Limits
from siaga.sop.month import Month

NOVEMBER = Month(2026, 11)
BEGAN_AT = datetime(2026, 10, 20, 2, 0, tzinfo=UTC)
AFTER = datetime(2026, 12, 1, 3, 0, tzinfo=UTC)


def at(day: int, hour: int = 0, minute: int = 0, second: int = 0) -> datetime:
    """A moment of November in Jakarta."""
    return datetime(2026, 11, day, hour, minute, second, tzinfo=UTC) - timedelta(hours=7)


def numbered(entries: Iterable[tuple[datetime, Record]]) -> list[dict[str, Any]]:
    """Records as the log has them."""
    return [
        {
            "actor": record.actor,
            "clause": str(record.clause),
            "figures": dict(record.figures),
            "kind": str(record.kind),
            "number": number,
            "reason": record.reason,
            "run": record.run,
            "time": iso(moment),
        }
        for number, (moment, record) in enumerate(entries)
    ]


def folded(documents: Iterable[Mapping[str, Any]], month: Month = NOVEMBER) -> MonthRecords:
    found = MonthRecords(month, BEGAN_AT)
    for document in documents:
        found.take(document)
    return found


UPDATE = Appointment(
    "update-database",
    "update-database",
    ClauseId.PMT_2_1,
    Window(frozenset({3}), begin=time(3), end=time(4), zone="Asia/Jakarta"),
)
"""PMT-2.1 as the SOP has it."""


def occurrence(day: int) -> Occurrence:
    return Occurrence(UPDATE, UPDATE.window.opening(date(2026, 11, day)))


def settled(day: int, state: State, reason: str = "", run: str = "") -> tuple[datetime, Record]:
    found = occurrence(day)
    return found.opening.end, calendar_memory.judged(Verdict(found, state, reason, run), found.opening.end)


def appointed() -> tuple[datetime, Record]:
    return BEGAN_AT, calendar_memory.appointed(UPDATE, BEGAN_AT)


def all_holding(since: datetime, until: datetime, **others: Adherence) -> list[tuple[datetime, Record]]:
    """Hourly records of the standings; `others` by the clause's name in `ClauseId`."""
    states = dict.fromkeys(ClauseId, Adherence.HOLDS) | {ClauseId[name]: state for name, state in others.items()}
    hours = int((until - since) / timedelta(hours=1))
    return [(since + timedelta(hours=n), standings.record(states)) for n in range(hours)]


def run(name: str, day: int, *, kind: str, clause: str = "DRP-3.1", **figures: Any) -> tuple[datetime, Record]:
    known = {"runbook": "recover", "manner": "real", **figures}
    return at(day, 10), Record(f"runbooks.{kind}", "controller", clause, f"recover: {kind}", known, run=name)


def drill(day: int, *, holds: bool, where: str = "embedded", clause: str = "ZDT-1.1a") -> tuple[datetime, Record]:
    figures = {"clauses": [clause], "drill": "node-loss", "holds": holds, "run": "r", "where": where}
    return at(day, 11), Record("drill.judged", "controller", clause, "drill node-loss", figures)


def drained(day: int, over_s: float) -> tuple[datetime, Record]:
    return at(day, 9), Record("traffic.drain", "controller", "ZDT-1.1a", "sgp-1 drained", {"over_s": over_s})


SEAL = Seal(
    origin="siaga/payments/1",
    records=900,
    first=120,
    last=1019,
    verdict="proven",
    size=1100,
    root="9kQif4eyO4SaLSP1yzfncyTcBWQdPwsNEXQf3rkUKpo=",
    chain="4b42bc8cad38cc7473e19b87df9f1cf695bf34d9e2940a96e281f41ff556bc3c",
    witnessed_at=datetime(2026, 11, 30, 17, 1, tzinfo=UTC),
    log_key="siaga/payments/1+6596 6a49+AAAA",
    witness_key="siaga/witness+3e370b5e+BBBB",
    witness="remembers 1200 records",
)
UPTIME = UptimeMonth(
    budget_ms=259_200,
    bad_ms=41_000,
    unknown_ms=63_000,
    raw_percent="99.9984",
    coverage_percent="99.9976",
    verdict=Adherence.HOLDS,
    why="41 s down and 63 s not measured fit into 4.32 min",
    weighted_percent="99.9996",
    outages=(
        Outage(at(9, 14, 3), at(9, 14, 3, 41), 23.5, ("sgp",), "log-in: 503 after 31 ms"),
        Outage(at(12, 23, 59, 50), at(13, 0, 0, 5), 8.0, ("fra",), "balance: no answer within 2 s"),
    ),
    days=(
        *(DayUptime(date(2026, 11, day), 0, 0) for day in range(1, 9)),
        DayUptime(date(2026, 11, 9), 41_000, 0),
        DayUptime(date(2026, 11, 12), 10_000, 0),
        DayUptime(date(2026, 11, 13), 5_000, 0),
        DayUptime(date(2026, 11, 17), 0, 63_000),
    ),
    reclassified=("2026-11-02T01:00:00.000Z to 2026-11-02T01:00:04.000Z counts as good, said ayu: a test (record 7)",),
)


def incident(
    day: int, kind: str, words: str, *, level: int = 3, id_: str = "INC-7", **figures: Any
) -> tuple[datetime, Record]:
    """As the incidents' own records are."""
    known = {"incident": id_, "level": level, "onset": at(day, 14, 3).isoformat(), "detected_s": 2.1, **figures}
    label = {3: "Level 3 · Critical", 2: "Level 2 · Major", 1: "Level 1 · Minor"}[level]
    return at(day, 14, 4), Record(f"incident.{kind}", "controller", "ZDT-1", f"{id_} {kind}, {label}: {words}", known)


def inputs(documents: Iterable[Mapping[str, Any]], **others: Any) -> Inputs:
    found = folded(documents)
    known = {
        "site": "payments",
        "embedded": False,
        "limits": Limits(),
        "made_by": "ayu",
        "version": "0.5",
        "found": found,
        "seal": SEAL,
        "uptime": UPTIME,
    }
    return Inputs(**{**known, **others})


def report(documents: Iterable[Mapping[str, Any]], now: datetime = AFTER, **others: Any) -> Report:
    return gather(inputs(documents, **others), NOVEMBER, now)


def a_whole_month() -> list[dict[str, Any]]:
    """With a bit of everything."""
    return numbered(
        [
            appointed(),
            *all_holding(at(1), at(30, 24 - 1) + timedelta(hours=1), DRP_3_2A=Adherence.NOT_MEASURED),
            settled(4, State.DONE, run="update-database/2026-11-04"),
            drained(5, 1.2),
            drained(6, 3.3),
            drill(7, holds=True),
            drill(8, holds=True, where="site"),
            (at(9, 9), Record("lever.mode", "ayu", "ZDT-1.1a", "from act to advise: maintenance at the carrier")),
            incident(9, "opened", "log-ins fail in sgp", declared_s=3.4, share=0.235),
            incident(
                9,
                "resolved",
                "two session shards were lost at once; both are back",
                declared_s=3.4,
                acknowledged_s=74.0,
                mitigated_s=41.0,
                resolved_s=5400.0,
                share=0.235,
            ),
            settled(11, State.DONE, run="update-database/2026-11-11"),
            settled(18, State.SKIPPED, "frozen: payday, until 2026-11-19"),
            run("recover-1", 20, kind="started"),
            run("recover-1", 20, kind="ended", outcome="done", clocks_s={"P1": 412.5}),
            settled(25, State.DONE, run="update-database/2026-11-25"),
        ]
    )
