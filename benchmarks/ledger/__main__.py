"""The cross-check against plain SQL with default settings, side by side, on one large ledger.

    python -m benchmarks.ledger [--entries 10000000] [--accounts 1000000] [--text] [--repeats 3] [--keep]

Every way runs `repeats` times, in turn, so that a noisy machine is noisy for all; medians are compared. The figures
are of the whole command, process start included. Everything is in the page cache after the first turn.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.ledger.measured import DATABASE, PLAIN, Large, Run
from benchmarks.ledger.server import running

RESULTS = Path(__file__).with_name("results")
NEW_ENTRIES = 100_000
DEFAULTS = {"fsync": "off", "max_wal_size": "8GB", "wal_level": "logical"}
"""The server's own defaults for everything that a read depends on."""
Figures = dict[str, list[dict[str, Any]]]
ALL, SUMS = "siaga, all checks in one pass", "siaga --sums over a covering index"
BY_ACCOUNT = "siaga --engine duckdb, sums per account"
HARMED, HARMED_ACCOUNTS = "siaga, all checks, 25 accounts at fault and named", 25
IN_DATABASE, SEALED = "siaga --engine postgres, all checks", "siaga, all checks, and a seal"
START, TAIL = "siaga, start-up (an empty ledger)", f"siaga --since a seal, {NEW_ENTRIES} new entries"
JOURNAL_TAIL = f"siaga --since a seal --journal, {NEW_ENTRIES} new"


def main() -> None:
    """Build, measure, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=10_000_000)
    parser.add_argument("--accounts", type=int, default=1_000_000)
    parser.add_argument("--text", action="store_true", help="text ids, uuid transactions, numeric money")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--keep", action="store_true", help="write the figures to benchmarks/ledger/results")
    parser.add_argument("--without", action="append", default=[], help="leave out what begins so; may be repeated")
    arguments = parser.parse_args()
    began = datetime.now(UTC)
    with running(DEFAULTS) as server, tempfile.TemporaryDirectory() as directory:
        large = Large(
            server, Path(directory), accounts=arguments.accounts, entries=arguments.entries, text=arguments.text
        )
        print(f"{arguments.entries} entries, {arguments.accounts} accounts: filling", flush=True)
        large.create()
        large.create("empty", entries=0)
        with server.connect("empty") as connection:
            connection.execute("truncate account")
        found = _measured(large, Path(directory), arguments.repeats, tuple(arguments.without))
    _print(found, arguments.entries)
    if arguments.keep:
        RESULTS.mkdir(exist_ok=True)
        document = {
            "began": began.isoformat(),
            "arguments": vars(arguments),
            "cores": os.cpu_count(),
            "load_at_end": os.getloadavg(),
            "runs": found,
        }
        (RESULTS / f"{began:%Y-%m-%d-%H%M}.json").write_text(json.dumps(document, indent=1) + "\n")


def _measured(large: Large, directory: Path, repeats: int, without: tuple[str, ...]) -> Figures:
    key, seal = str(directory / "key"), str(directory / "seal")
    ways: dict[str, Callable[[], Run]] = {
        name: (lambda statements=statements: large.plain(statements)) for name, statements in PLAIN.items()
    }
    ways |= {
        START: lambda: large.command(database="empty"),
        ALL: large.command,
        BY_ACCOUNT: lambda: large.command("--engine", "duckdb"),
        IN_DATABASE: lambda: large.command("--engine", "postgres"),
        SEALED: lambda: large.command("--key", key, "--seal", seal),
    }
    found = _turns(ways, repeats, without)

    def beside_start(name: str, run: Callable[[], Run]) -> None:
        """In turn with start-up: what is beyond it is a small difference, and the machine changes within minutes."""
        both = _turns({START: ways[START], name: run}, repeats, without)
        for way, runs in both.items():
            found[way] = found.get(way, []) + runs
        if START in both:
            beyond = (one["seconds"] - other["seconds"] for one, other in zip(both[name], both[START], strict=True))
            print(f"{name}, beyond start-up: {median(beyond):.2f} s", flush=True)

    if not TAIL.startswith(without or ("\0",)):
        large.command("--key", key, "--seal", seal)
        large.add(NEW_ENTRIES)
        beside_start(TAIL, lambda: large.command("--key", key, "--since", seal))
        assert found[TAIL][0]["grade"] == "tail"
    if not JOURNAL_TAIL.startswith(without or ("\0",)):
        with large.journal() as journal:
            large.command("--key", key, "--seal", seal)
            large.add(NEW_ENTRIES)
            asks = ("--key", key, "--since", seal, "--journal", str(journal))
            beside_start(JOURNAL_TAIL, lambda: large.command(*asks))
        assert found[JOURNAL_TAIL][0]["grade"] == "tail"
    if not SUMS.startswith(without or ("\0",)):
        with large.server.connect(DATABASE) as connection:
            connection.execute("create index covering on entry (account) include (amount)")
            connection.execute("vacuum analyze entry")
        beside_start(SUMS, lambda: large.command("--sums", expected=(3,)))
    if not HARMED.startswith(without or ("\0",)):
        large.harm(HARMED_ACCOUNTS)
        found |= _turns({HARMED: lambda: large.command(expected=(1,))}, repeats, without)
        assert found[HARMED][0]["mismatched"] == HARMED_ACCOUNTS
    return found


def _turns(ways: dict[str, Callable[[], Run]], repeats: int, without: tuple[str, ...]) -> Figures:
    found: Figures = {name: [] for name in ways if not name.startswith(without or ("\0",))}
    for turn in range(repeats):
        for name, runs in found.items():
            run = ways[name]()
            said = {key: run.document[key] for key in ("grade", "engine")} if run.document else {}
            wrong = {"mismatched": run.document["mismatched_count"]} if run.document else {}
            runs.append({"seconds": round(run.seconds, 3), "memory_mb": round(run.memory_mb), **said, **wrong})
            print(f"  turn {turn + 1}: {run.seconds:8.2f} s  {name}", flush=True)
    return found


def _print(found: Figures, entries: int) -> None:
    seconds = {name: median(run["seconds"] for run in runs) for name, runs in found.items()}
    print(f"\n{'':52} {'seconds':>9} {'M/s':>7} {'client MB':>10}")
    for name, value in seconds.items():
        memory = max(run["memory_mb"] for run in found[name])
        print(f"{name:52} {value:9.2f} {entries / value / 1e6:7.2f} {memory or '':>10}")
    pairs = (
        ("all checks: plain SQL / siaga (wanted: at least 5)", "plain SQL, all checks", ALL),
        ("plain SQL's sums only / siaga, all checks (at least 1)", "plain SQL, sums only", ALL),
        ("all checks: plain SQL / siaga, sums per account", "plain SQL, all checks", BY_ACCOUNT),
        ("all checks: plain SQL / siaga in the database", "plain SQL, all checks", IN_DATABASE),
    )
    for words, one, other in pairs:
        if one in seconds and other in seconds:
            print(f"{words}: {seconds[one] / seconds[other]:.2f}")
    if START in seconds and SUMS in seconds:
        rate = entries / (seconds[SUMS] - seconds[START]) / 1e6
        print(f"sums over a covering index, beyond start-up: {rate:.2f} M entries/s (wanted: 4 at 50 M)")


if __name__ == "__main__":
    main()
