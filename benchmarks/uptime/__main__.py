"""What uptime costs: the probes of a site with three regions in cores, five years of slices in bytes, a month in ms.

    .venv/bin/python -m benchmarks.uptime            everything, about a minute
    .venv/bin/python -m benchmarks.uptime --seconds 5

Beside the row for a change stands the naive store, a row for a slice of ten seconds; one month of it is measured and
five years are reckoned from that. The platform is played by another process, whose time does not count.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import random
import resource
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.uptime.platform import serve
from siaga.evidence.model import Record
from siaga.sop.limits import Limits
from siaga.sop.month import Month
from siaga.uptime.counters import EnvoyCounters
from siaga.uptime.journeys import provided_accounts
from siaga.uptime.lanes import Lanes
from siaga.uptime.machine import read_clocks, steady_ms
from siaga.uptime.model import Change, Slice, State, Step
from siaga.uptime.months import figures
from siaga.uptime.service import UptimeService
from siaga.uptime.sqlite import FILE_NAME, SqliteStore
from siaga.uptime.wallet_journey import WalletJourney

REGIONS = ("sgp", "fra", "iad")
YEARS = tuple(Month(year, month) for year in range(2026, 2031) for month in range(1, 13))
CHANGES_A_DAY = 40
"""Twenty outages a day, each day of five years: far worse than any site that is still in business."""
SLICE_MS = 10_000


def main() -> None:
    """Measure and print one JSON document."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=30.0, help="How long the probes run, good and failing each.")
    seconds = parser.parse_args().seconds
    print(json.dumps({"probes": asyncio.run(_probes(seconds)), **_stores()}, indent=2))


# Probes -----------------------------------------------------------------------------------------------------


class _Quiet:
    async def append(self, record: Record) -> int:
        return 1

    async def append_exempt(self, record: Record) -> None:
        raise AssertionError(record)

    async def on_change(self, change: Change) -> None:
        return None


async def _probes(seconds: float) -> dict[str, float]:
    ours, theirs = multiprocessing.Pipe()
    platform = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs, REGIONS))
    platform.start()
    theirs.close()
    address = ours.recv()
    quiet = _Quiet()
    with tempfile.TemporaryDirectory() as directory:
        journeys = {
            (region, region): WalletJourney(f"http://{address}", provided_accounts(region, "s"), provision=True)
            for region in REGIONS
        }
        service = UptimeService(
            REGIONS,
            Lanes(journeys, steady_ms),
            EnvoyCounters(address),
            SqliteStore(Path(directory) / FILE_NAME),
            quiet,
            Limits().uptime,
            clock=read_clocks,
            on_change=quiet.on_change,
        )
        await service.open([])
        await _cores(service, 3.0)
        good = await _cores(service, seconds)
        ours.send("fail")
        failing = await _cores(service, seconds)
        await service.close()
    ours.send("end")
    platform.join()
    return {"cores_while_good": round(good, 4), "cores_while_failing": round(failing, 4), "regions": len(REGIONS)}


async def _cores(service: UptimeService, seconds: float) -> float:
    begin_s, used_s = time.monotonic(), _used_s()
    while time.monotonic() - begin_s < seconds:
        await service.run_pass()
        await asyncio.sleep(0.1)
    return (_used_s() - used_s) / (time.monotonic() - begin_s)


def _used_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


# Stores -----------------------------------------------------------------------------------------------------


def _stores() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as directory:
        ours = SqliteStore(Path(directory) / FILE_NAME)
        for month in YEARS:
            ours.record(_eventful(month))
        took_ms = [_timed(lambda month=month: _figures(ours, month)) for month in YEARS]
        ours.close()
        ours_bytes = _size(Path(directory) / FILE_NAME)
        naive = Path(directory) / "naive.sqlite"
        naive_rows = _naive(naive, YEARS[-1])
        naive_took_ms = [_timed(lambda: _naive_figures(naive)) for _ in range(5)]
        return {
            "row_for_a_change": {
                "five_years_bytes": ours_bytes,
                "changes_a_day": CHANGES_A_DAY,
                "month_ms_median": round(statistics.median(took_ms), 2),
                "month_ms_worst": round(max(took_ms), 2),
            },
            "row_for_a_slice": {
                "five_years_bytes": _size(naive) * len(YEARS),
                "rows_of_a_month": naive_rows,
                "month_ms_median": round(statistics.median(naive_took_ms), 2),
            },
        }


def _eventful(month: Month) -> Sequence[Slice]:
    dice = random.Random(str(month))
    found, reached_ms = [], month.begin_ms
    outages = (month.end_ms - month.begin_ms) * CHANGES_A_DAY // 2 // 86_400_000
    for begin_ms in sorted(dice.randrange(month.begin_ms + 1, month.end_ms - 20_000) for _ in range(outages)):
        if begin_ms <= reached_ms:
            continue
        end_ms = begin_ms + dice.randint(500, 15_000)
        found.append(Slice(reached_ms, begin_ms, State.GOOD))
        why = "balance: no answer within 1500 ms"
        found.append(Slice(begin_ms, end_ms, State.BAD, 333_333, True, ("sgp",), (Step.BALANCE,), why=why))
        reached_ms = end_ms
    return [*found, Slice(reached_ms, max(reached_ms + 1, month.end_ms), State.GOOD)]


def _figures(store: SqliteStore, month: Month) -> None:
    slices = store.slices(month.begin_ms, month.end_ms)
    figures(month, slices, (), began_ms=0, now_ms=month.end_ms, limits=Limits().uptime)


def _naive(path: Path, month: Month) -> int:
    rows = [
        (moment_ms, region, 0, 0, None)
        for moment_ms in range(month.begin_ms, month.end_ms, SLICE_MS)
        for region in REGIONS
    ]
    with sqlite3.connect(path) as connection:
        connection.execute(
            "CREATE TABLE slices (begin_ms INTEGER, region TEXT, state INTEGER, share_ppm INTEGER, detail TEXT, "
            "PRIMARY KEY (begin_ms, region)) WITHOUT ROWID"
        )
        connection.executemany("INSERT INTO slices VALUES (?, ?, ?, ?, ?)", rows)
    connection.close()
    return len(rows)


def _naive_figures(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute(
        "SELECT state, count(*) FROM (SELECT max(state) AS state FROM slices GROUP BY begin_ms) GROUP BY state"
    ).fetchall()
    connection.close()


def _timed(work: Any) -> float:
    begin_s = time.perf_counter()
    work()
    return (time.perf_counter() - begin_s) * 1000


def _size(path: Path) -> int:
    return sum(each.stat().st_size for each in path.parent.glob(f"{path.name}*"))


if __name__ == "__main__":
    main()
