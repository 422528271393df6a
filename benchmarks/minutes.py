"""Does the pager stay quiet while users are served, and how soon does it ring when they are not (ZDT-1)?

`python -m benchmarks.minutes --minutes 60` keeps the demo's load on a platform of its own: no incident of Level 3 may
open. Then the database hangs, several times: seconds from the first failed journey to Level 3, and to somebody who
knows. Writes a section of docs/soak.md.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.page import write_section
from siaga.drills.model import RATE_PER_S

DEADLINE_S = 180
HANG_S = 8.0
QUIET_S = 15.0
SITE = """
name = "minutes"
embedded = true
[[notifications]]
name = "chief"
kind = "apprise"
secret = "chief-url"
level_min = 3
"""


def main() -> int:
    """Run the campaign; 1 when the pager rang for nothing, or not within 5 s."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--outages", type=int, default=5)
    parser.add_argument("--rate", type=float, default=RATE_PER_S)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="siaga-minutes-") as name, _receiver() as url:
        directory = Path(name)
        directory.chmod(0o755)
        environment = {**os.environ, "SIAGA_HOME": str(directory / "home")}
        _up(directory, url, environment)
        try:
            quiet = _quiet(directory, environment, arguments.minutes, arguments.rate)
            print(json.dumps(quiet, indent=1), flush=True)
            told = [_outage(environment) for _ in range(arguments.outages)]
            print(json.dumps(told, indent=1), flush=True)
        finally:
            _siaga(["down", "--purge"], environment)
    write_section("The minutes and the pager", _lines(quiet, told, arguments.rate))
    return int(bool(quiet["level_3"]) or any(one["notified_s"] is None or one["notified_s"] >= 5 for one in told))


@contextlib.contextmanager
def _receiver() -> Iterator[str]:
    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"json://127.0.0.1:{server.server_port}"
    server.shutdown()


def _up(directory: Path, url: str, environment: Mapping[str, str]) -> None:
    site = directory / "site.toml"
    site.write_text(SITE)
    _siaga(["up", "--detach", "--site", str(site)], environment)
    secrets = Path(environment["SIAGA_HOME"]) / "secrets"
    secret = secrets / "chief-url"
    secret.write_text(url)
    secret.chmod(0o600)
    os.chown(secret, secrets.stat().st_uid, secrets.stat().st_gid)


def _quiet(directory: Path, environment: Mapping[str, str], minutes: float, rate: float) -> dict[str, Any]:
    """The demo's load for so long; what became of it."""
    status = _json(["status"], environment)
    doors = [word for region, url in status["front_door"].items() for word in ("--front-door", f"{region}={url}")]
    controller = next(part["pid"] for part in status["parts"] if part["name"] == "controller")
    command = [sys.executable, "-m", "wallet.load", *doors, "--rate", str(rate), "--seconds", str(minutes * 60)]
    began, cpu_s = datetime.now(UTC), _cpu_s(controller)
    done = subprocess.run(
        [*command, "--acknowledgements", str(directory / "acknowledgements.jsonl")],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=minutes * 60 + DEADLINE_S,
    )
    users = json.loads(done.stdout)
    wall_s = (datetime.now(UTC) - began).total_seconds()
    incidents = [
        one for one in _json(["incidents", "list"], environment)["incidents"] if one["onset"] >= began.isoformat()
    ]
    month = _json(["uptime"], environment)
    return {
        "minutes": round(wall_s / 60, 1),
        "requests": users["requests"],
        "errors": users["errors"],
        "errors_by_kind": users["errors_by_kind"],
        "slow_answers": users["slow_answers"],
        "level_3": [one["subject"] for one in incidents if one["level"] == 3],
        "level_2": [one["subject"] for one in incidents if one["level"] == 2],
        "bad_ms": month["bad_ms"],
        "unknown_ms": month["unknown_ms"],
        "controller_cores": round((_cpu_s(controller) - cpu_s) / wall_s, 3),
    }


def _outage(environment: Mapping[str, str]) -> dict[str, Any]:
    """The database hangs for some seconds; seconds from the onset to each moment."""
    pid = next(p["pid"] for p in _json(["status"], environment)["parts"] if p["name"] == "transactions-1")
    family = [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]
    known = len(_level_3(environment))
    _signal(family, signal.SIGSTOP)
    time.sleep(HANG_S)
    _signal(family, signal.SIGCONT)
    deadline = time.monotonic() + DEADLINE_S
    while True:
        found = _level_3(environment)
        if len(found) > known and found[0]["state"] == "mitigated":
            break
        if time.monotonic() > deadline:
            sys.exit("the outage did not end within its deadline")
        time.sleep(0.5)
    # A next one so soon would be the same incident.
    _siaga(["incidents", "resolve", found[0]["id"], "--reason", "the campaign goes on"], environment)
    time.sleep(QUIET_S)
    figures = _json(["incidents", "show", found[0]["id"]], environment)["figures"]
    return {name: figures[name] for name in ("detected_s", "declared_s", "notified_s")}


def _level_3(environment: Mapping[str, str]) -> list[dict[str, Any]]:
    """Newest first."""
    listed = _json(["incidents", "list"], environment)["incidents"]
    return sorted((one for one in listed if one["level"] == 3), key=lambda one: one["onset"], reverse=True)


def _signal(pids: Sequence[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _json(arguments: Sequence[str], environment: Mapping[str, str]) -> Any:
    return json.loads(_siaga([*arguments, "--json"], environment))


def _siaga(arguments: Sequence[str], environment: Mapping[str, str]) -> str:
    command = [sys.executable, "-m", "siaga.cli.main", *arguments]
    done = subprocess.run(
        command, env=dict(environment), stdout=subprocess.PIPE, text=True, timeout=DEADLINE_S, check=False
    )
    if done.returncode not in (0, 1, 3):
        sys.exit(f"`siaga {' '.join(arguments)}` ended with {done.returncode}")
    return done.stdout


def _lines(quiet: Mapping[str, Any], told: Sequence[Mapping[str, Any]], rate: float) -> list[str]:
    kinds = ", ".join(f"{count} x {kind}" for kind, count in quiet["errors_by_kind"].items())
    lines = [
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores shared with everything, {rate:g} requests/s. "
        "`python -m benchmarks.minutes`",
        "",
        f"- {quiet['minutes']} min of load: {quiet['requests']:,} requests, "
        f"{quiet['errors']} errors ({kinds or 'none'}), {quiet['slow_answers']} over 500 ms; "
        f"incidents of Level 3: {len(quiet['level_3'])}, of Level 2: {len(quiet['level_2'])}; "
        f"{quiet['bad_ms']} ms bad, {quiet['unknown_ms']} ms unknown; the whole controller "
        f"used {quiet['controller_cores']} core.",
    ]
    for name in ("declared_s", "notified_s") if told else ():
        values = [one[name] for one in told if one[name] is not None]
        lines.append(
            f"- database hangs, {len(told)} times, first failed journey to `{name}`: median {median(values):.2f} s, "
            f"worst {max(values):.2f} s (wanted: under 5)"
        )
    return lines


if __name__ == "__main__":
    sys.exit(main())
