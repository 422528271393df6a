"""What a gentle check costs the users of a live primary: closed-loop throughput in interleaved blocks with and without.

    python -m benchmarks.ledger.gentle [--blocks 12] [--seconds 8] [--entries 12000000] [--no-key] [--buffers 2GB]
                                       [--keep]

Blocks alternate in pairs, in random order within a pair; the median of the pairs' ratios is given with its 95 %
interval (order statistics of the sign test, no assumption about the noise). Users are pgbench's own transactions.
Its log has a foreign key to its accounts, as the wallet's; without one (`--no-key`) every entry is brought here.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from math import comb
from pathlib import Path
from statistics import median

from benchmarks.ledger.server import Server, running
from siaga.ledger.reading import GENTLE

RESULTS = Path(__file__).with_name("results")
DATABASE, CLIENTS = "users", 4
SETTINGS = {"max_wal_size": "4GB"}
"""A primary that means it: fsync as it comes, and buffers as PostgreSQL's manual advises (`--buffers`)."""
MAP = """
[accounts]
table = "pgbench_accounts"
id = "aid"
balance = "abalance"
[entries]
table = "pgbench_history"
account = "aid"
amount = "delta"
"""


def main() -> int:
    """Measure; 1 where users lose more than a tenth at the median."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=12, help="pairs of blocks")
    parser.add_argument("--seconds", type=int, default=8, help="of a block")
    parser.add_argument("--scale", type=int, default=10, help="pgbench's: 100,000 accounts each")
    parser.add_argument("--entries", type=int, default=12_000_000, help="in the log at first")
    parser.add_argument("--no-key", action="store_true", help="no foreign key to the accounts")
    parser.add_argument("--buffers", default="2GB", help="shared_buffers; PostgreSQL's own default is 128MB")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", action="store_true", help="write the figures to benchmarks/ledger/results")
    arguments = parser.parse_args()
    began = datetime.now(UTC)
    chance = random.Random(arguments.seed)
    with (
        running({**SETTINGS, "shared_buffers": arguments.buffers}) as server,
        tempfile.TemporaryDirectory() as directory,
    ):
        map_path = Path(directory) / "map.toml"
        map_path.write_text(MAP)
        _fill(server, arguments.scale, arguments.entries, key=not arguments.no_key)
        pairs, checks = [], 0
        for _ in range(arguments.blocks):
            found = {}
            for checked in chance.sample((False, True), 2):
                found[checked], done = _block(server, map_path, arguments.seconds, checked=checked)
                checks += done
            pairs.append((found[True], found[False]))
            print(f"  with {found[True]:8.0f}/s, without {found[False]:8.0f}/s: {_ratio(*pairs[-1]):.3f}", flush=True)
    ratios = [_ratio(*pair) for pair in pairs]
    low, high = interval(ratios)
    print(f"throughput with a gentle check: {median(ratios):.3f} of without, 95 % interval {low:.3f} to {high:.3f}")
    print(f"{len(ratios)} pairs of blocks, {checks} checks finished meanwhile; wanted: more than 0.9")
    if arguments.keep:
        RESULTS.mkdir(exist_ok=True)
        document = {"began": began.isoformat(), "arguments": vars(arguments), "share": GENTLE.share,
                    "median": median(ratios), "interval": [low, high], "with_without_per_s": pairs}  # fmt: skip
        (RESULTS / f"gentle-{began:%Y-%m-%d-%H%M}.json").write_text(json.dumps(document, indent=1) + "\n")
    return 0 if median(ratios) > 0.9 else 1


def _ratio(checked: float, alone: float) -> float:
    return checked / alone


def interval(values: list[float]) -> tuple[float, float]:
    """Of the median, at least 95 %: the widest pair of order statistics otherwise."""
    ordered, count = sorted(values), len(values)
    for place in reversed(range(count // 2)):
        if 2 * sum(comb(count, k) for k in range(place + 1)) / 2**count <= 0.05:
            return ordered[place], ordered[-1 - place]
    return ordered[0], ordered[-1]


def _fill(server: Server, scale: int, entries: int, *, key: bool) -> None:
    with server.connect() as connection:
        connection.execute(f"create database {DATABASE}")
    address = _address(server)
    server.program("pgbench", "-i", "-q", "-s", str(scale), *address)
    with server.connect(DATABASE) as connection:
        # A pass that outlasts a block: the start of the next check, 0.8 s of a core, is no part of reading gently.
        connection.execute(
            "insert into pgbench_history (tid, bid, aid, delta, mtime) "
            f"select 1, 1, 1 + (n * 2654435761) % {scale * 100_000}, 1 + n % 100, now() "
            f"from generate_series(1, {entries}) n"
        )
        connection.execute(
            "update pgbench_accounts a set abalance = total "
            "from (select aid, sum(delta) as total from pgbench_history group by 1) h where h.aid = a.aid"
        )
        if key:
            connection.execute("alter table pgbench_history add foreign key (aid) references pgbench_accounts")
        connection.execute("vacuum analyze")
        connection.execute("checkpoint")


def _block(server: Server, map_path: Path, seconds: int, *, checked: bool) -> tuple[float, int]:
    """Transactions a second, and how many checks finished meanwhile; one that is under way at the end is stopped."""
    check = _check(server, map_path) if checked else None
    if check is not None:
        _await_reading(server)
    users = subprocess.Popen(
        server.command("pgbench", "-n", "-c", str(CLIENTS), "-j", "2", "-T", str(seconds), *_address(server)),
        stdout=subprocess.PIPE, text=True, **server.as_owner,
    )  # fmt: skip
    done = 0
    while users.poll() is None:
        if check is not None and check.poll() is not None:
            # Every check must verify what users wrote meanwhile; then the next one begins.
            assert check.stdout is not None
            assert json.loads(check.stdout.read())["verdict"] == "verified"
            done, check = done + 1, _check(server, map_path)
        try:
            users.wait(0.2)
        except subprocess.TimeoutExpired:
            continue
    if check is not None:
        check.terminate()
        check.communicate()
    assert users.stdout is not None
    found = re.search(r"tps = ([\d.]+)", users.stdout.read())
    assert found is not None, "pgbench says how many it did"
    return float(found[1]), done


def _check(server: Server, map_path: Path) -> subprocess.Popen[bytes]:
    argv = [sys.executable, "-m", "siaga.cli.main", "ledger", "check", "--json", "--gentle"]
    argv += ["--dsn", server.dsn(DATABASE), "--map", str(map_path)]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def _await_reading(server: Server) -> None:
    """A block is about a pass that is under way, not about a process that starts."""
    deadline = time.monotonic() + 60
    with server.connect(DATABASE) as connection:
        reads = "select 1 from pg_stat_activity where application_name like 'siaga ledger 0%'"
        while not connection.execute(reads).fetchone():
            assert time.monotonic() < deadline, "the check does not read"
            time.sleep(0.005)


def _address(server: Server) -> list[str]:
    return ["-h", "127.0.0.1", "-p", str(server.port), "-U", "postgres", DATABASE]


if __name__ == "__main__":
    raise SystemExit(main())
