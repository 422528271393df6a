"""What the gate costs a movement while everything is open: the wallet's own function, with and without it."""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import psycopg

from benchmarks.ledger_release.rig import Rig

ACCOUNTS = 5_000
WAYS = ("without", "function", "function and trigger")
SCRIPT = """
\\set payer random(1001, 1000 + {accounts})
\\set payee random(1001, 1000 + {accounts})
select * from {function}(gen_random_uuid()::text, 'transfer', :payer, :payee, 1);
"""


def measure(rig: Rig, *, blocks: int, seconds: int, clients: int) -> dict[str, object]:
    """Movements a second, in blocks that take turns; ratios are of blocks beside each other."""
    _prepare(rig)
    rates: dict[str, list[float]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as directory:
        for number in range(blocks):
            order = WAYS if number % 2 else tuple(reversed(WAYS))
            for way in order:
                rates[way].append(_block(rig, way, Path(directory), seconds, clients))
                print(f"block {number}: {way} {rates[way][-1]:.0f}/s", file=sys.stderr, flush=True)
    return {
        "movements_per_s": {way: round(statistics.median(found), 1) for way, found in rates.items()},
        "ratio": {way: _ratio(rates[way], rates["without"]) for way in WAYS[1:]},
        "raw": rates,
    }


def processor_time(rig: Rig, *, blocks: int, movements: int) -> dict[str, object]:
    """Server's processor time of one movement, in microseconds: steadier than a rate on a machine with other work."""
    _prepare(rig)
    taken: dict[str, list[float]] = {way: [] for way in WAYS}
    with psycopg.connect(rig.conninfo(), autocommit=True) as connection:
        used = Path(f"/proc/{connection.info.backend_pid}/schedstat")
        for number in range(blocks + 1):
            for way in WAYS if number % 2 else reversed(WAYS):
                statement = f"select * from {_switch(rig, way)}(%s, 'transfer', %s, %s, 1)".encode()
                before = int(used.read_text().split()[0])
                for n in range(movements):
                    key = f"{number}-{way}-{n}"
                    connection.execute(statement, (key, 1001 + n % ACCOUNTS, 1002 + n % (ACCOUNTS - 1)))
                if number:  # the first block fills the caches
                    taken[way].append((int(used.read_text().split()[0]) - before) / 1000 / movements)
    return {
        "microseconds": {way: round(statistics.median(found), 1) for way, found in taken.items()},
        "microseconds_least": {way: round(min(found), 1) for way, found in taken.items()},
        "ratio": {way: _ratio(taken[way], taken["without"]) for way in WAYS[1:]},
        "raw": taken,
    }


def _prepare(rig: Rig) -> None:
    rig.query(
        f"insert into wallet.users (name, password_hash) select 'u' || n, '' from generate_series(1, {ACCOUNTS}) n;"
        " insert into wallet.accounts (owner, kind, balance) select id, 'user', 1000000 from wallet.users; analyze"
    )
    ((source,),) = rig.query("select pg_get_functiondef('wallet.move'::regproc)")
    plain = source.replace("wallet.move(", "wallet.move_without_gate(")
    plain, count = re.subn(r"v_closed := siaga\.closed_account\([^;]*;", "v_closed := null;", plain)
    assert count == 1, "the wallet asks the gate once"
    rig.query(plain)
    # The same owner, or other privileges would be checked.
    rig.query("alter function wallet.move_without_gate owner to wallet_owner")


def _switch(rig: Rig, way: str) -> str:
    """Set the trigger for one way; the function that its movements call."""
    state = "enable" if way == "function and trigger" else "disable"
    rig.query(f"alter table wallet.entries {state} trigger siaga_refuse_movements")
    return "wallet.move_without_gate" if way == "without" else "wallet.move"


def _block(rig: Rig, way: str, directory: Path, seconds: int, clients: int) -> float:
    script = directory / "move.sql"
    script.write_text(SCRIPT.format(accounts=ACCOUNTS, function=_switch(rig, way)))
    pgbench = [rig.programs / "pgbench", "-n", "-f", script, "-c", str(clients), "-j", "1", "-T", str(seconds)]
    where = ["-h", "127.0.0.1", "-p", str(rig.port), "-U", "bench", "wallet"]
    said = subprocess.run([*pgbench, *where], check=True, capture_output=True, text=True).stdout
    found = re.search(r"tps = ([\d.]+)", said)
    assert found is not None, said
    return float(found[1])


def _ratio(rates: list[float], base: list[float]) -> dict[str, float]:
    ratios = sorted(one / other for one, other in zip(rates, base, strict=True))
    quarter = len(ratios) // 4
    return {
        "median": round(statistics.median(ratios), 4),
        "quartile_low": round(ratios[quarter], 4),
        "quartile_high": round(ratios[-1 - quarter], 4),
    }
