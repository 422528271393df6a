"""The long campaign on leadership: every fault, many rounds, on two machines and on one; how soon somebody acts again.

`python -m benchmarks.takeover --rounds 10 [--keep]` runs the contest of the integration tests with a leader that is
stopped for 30 s. It ends with 1 when two acted at a time, an epoch did not grow, or nobody acted within 5 s.
`--keep` writes benchmarks/results/takeover.md.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests/integration"), str(ROOT / "tests/integration/wallet")]

from contest import Act, Contest, StateServer  # noqa: E402
from wallet_servers import free_ports  # noqa: E402

STOPPED_S = 30.0
ALLOWED_S = 5.0
RESULT = Path(__file__).parent / "results/takeover.md"


def killed(contest: Contest, leader: Act) -> None:
    contest.running[leader.name].kill()


def stopped(contest: Contest, leader: Act) -> None:
    contest.running[leader.name].send_signal(signal.SIGSTOP)


def cut(contest: Contest, leader: Act) -> None:
    contest.database.query(
        "select pg_terminate_backend(pid) from pg_stat_activity where application_name = %s",
        f"siaga leader {leader.epoch}",
    )


def restarted(contest: Contest, leader: Act) -> None:
    contest.database.server.stop()
    contest.database.server.start()


def left(contest: Contest, leader: Act) -> None:
    contest.running[leader.name].terminate()


FAULTS: tuple[Callable[[Contest, Act], None], ...] = (killed, stopped, cut, restarted, left)


def measure(contest: Contest, fault: Callable[[Contest, Act], None]) -> float:
    """From the fault to the first act under a new epoch, in s."""
    leader = contest.leader()
    contest.wait_for_standbys()
    process = contest.running[leader.name]
    began_s = time.monotonic()
    fault(contest, leader)
    took_s = contest.wait_for_successor(leader, deadline_s=60).at_s - began_s
    if fault is stopped and not contest.same_machine:
        contest.keep_for(max(0.0, began_s + STOPPED_S - time.monotonic()))
        process.send_signal(signal.SIGCONT)
        assert process.wait(5) == 70, "woken, it ends by itself"
    contest.judge()
    return took_s


def main() -> int:
    """Run the campaign."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--keep", action="store_true")
    arguments = parser.parse_args()
    found: dict[tuple[str, str], list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="siaga-takeover-", dir="/tmp") as name:
        directory = Path(name)
        directory.chmod(0o755)
        home = directory / "server"
        home.mkdir(mode=0o755)
        server = StateServer(home, free_ports(1)[0])
        server.start()
        try:
            for same_machine in (True, False):
                where = "one machine" if same_machine else "two machines"
                acts = directory / where.replace(" ", "-")
                acts.mkdir()
                contest = Contest(server.create(acts.name.replace("-", "_")), acts, same_machine=same_machine)
                try:
                    for each in ("a", "b"):
                        contest.start(each)
                    for number in range(arguments.rounds):
                        for fault in FAULTS:
                            took_s = measure(contest, fault)
                            found.setdefault((fault.__name__, where), []).append(took_s)
                            print(f"round {number + 1}, {where}: {fault.__name__} {took_s:.2f} s", file=sys.stderr)
                finally:
                    contest.stop()
        finally:
            server.stop()
    page = _page(found, arguments.rounds)
    print(page)
    if arguments.keep:
        RESULT.parent.mkdir(exist_ok=True)
        RESULT.write_text(page)
    return int(max(max(values) for values in found.values()) > ALLOWED_S)


def _page(found: dict[tuple[str, str], list[float]], rounds: int) -> str:
    lines = [
        "# Takeover: from the fault to the first act of the next leader",
        "",
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores shared with everything, rounds: {rounds}. "
        f"Median (worst), s; allowed: {ALLOWED_S:g} s. Never did two act at a time. "
        "`python -m benchmarks.takeover --keep` writes this page.",
        "",
        "| the leader, or its database | one machine | two machines |",
        "|---|---|---|",
    ]
    for fault in FAULTS:
        cells = [found[fault.__name__, where] for where in ("one machine", "two machines")]
        shown = " | ".join(f"{statistics.median(values):.2f} ({max(values):.2f})" for values in cells)
        lines.append(f"| {fault.__name__} | {shown} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
