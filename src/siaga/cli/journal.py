"""`siaga journal`: the independent transaction log (DRP-3.2b)."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter
from rich.console import Console
from rich.progress import Progress, track

from siaga.cli import output
from siaga.cli.output import Json
from siaga.errors import BadInput, Exit
from siaga.journal import beyond as reading
from siaga.journal import compare as comparing
from siaga.journal import config as settings
from siaga.journal import install, lsn, replay, segments, status
from siaga.journal import verify as verifying
from siaga.journal.config import JournalConfig
from siaga.journal.lost import Lost, Planned, Step, plan
from siaga.ledger.load import load as load_map
from siaga.ledger.source import refuse_secrets
from siaga.platform import account, lifecycle
from siaga.platform import journal as embedded

app = App(name="journal", help="The independent transaction log, kept outside the database (DRP-3.2b).")

Config = Annotated[Path | None, Parameter(help="The journal's configuration; by default the platform's here.")]
Beyond = Annotated[
    str | None,
    Parameter(help="Position a server was recovered to; by default what the database lost where its way forked."),
]

SHOWN_MAX = 50


@app.command
def show(*, config: Config = None, json: Json = False) -> int:
    """Show where the journal stands: lag, coverage, gaps, time left, and whether it consumes.

    Exit code 0 when it consumes and has no gap, 1 when not, 3 when it says nothing.

    Examples
    --------
    siaga journal show
    siaga journal show --json
    """
    found = _config(config)
    said = status.read(found.status)
    contents = segments.load(found.directory)
    closed = [seal.summary for seal in contents.seals]
    whole = {
        **said,
        "segments_closed": len(closed),
        "transactions": sum(s.transactions for s in contents.summaries),
        "entries": sum(s.entries for s in contents.summaries),
        "base": contents.standing.base,
    }
    if json:
        output.document(whole)
    else:
        _print_standing(whole)
    if said["state"] == "not measured":
        return Exit.UNDETERMINED
    return Exit.DONE if said["state"] == "streaming" and not contents.standing.gaps else Exit.DOES_NOT_HOLD


def _print_standing(found: dict[str, Any]) -> None:
    print(f"{found['state']}{': ' + found['why'] if found['why'] else ''}")
    shown = ("lag_bytes", "lag_s", "commit_lag_ms", "slot_time_left_s", "disk_time_left_s", "transactions", "entries")
    output.table(("", ""), [(name, found.get(name)) for name in (*shown, "segments_closed", "head")])
    print()
    output.table(("coverage: system", "timeline", "from", "to"), [tuple(s.values()) for s in found.get("coverage", [])])
    if found.get("gaps"):
        print()
        output.table(("gap: system", "timeline", "from", "to", "why"), [tuple(g.values()) for g in found["gaps"]])


@app.command
def verify(*, config: Config = None, json: Json = False) -> int:
    """Read everything and compare it with its seals and chain: every segment, every frame, the base.

    Exit code 0 when all of it is as it was written, 1 when something was cut short or altered.

    Examples
    --------
    siaga journal verify
    """
    contents = segments.load(_config(config).directory)
    with Progress(console=Console(stderr=True), disable=json, transient=True) as progress:
        task = progress.add_task("segments", total=len(contents.seals))
        faults = verifying.verify(contents, lambda: progress.advance(task))
    found = {"holds": not faults, "faults": faults, "segments": len(contents.seals), "head": contents.head}
    if json:
        output.document(found)
    else:
        print("\n".join(faults) or f"{len(contents.seals)} segments and the open log are as they were written")
    return Exit.DONE if not faults else Exit.DOES_NOT_HOLD


@app.command
def compare(
    *,
    dsn: Annotated[str | None, Parameter(help="Another server, such as a recovered one; no password in it.")] = None,
    config: Config = None,
    deadline: Annotated[float, Parameter(help="Seconds to wait for the journal to reach the database.")] = 30.0,
    json: Json = False,
) -> int:
    """Compare the database with the journal, account by account: by snapshot while it is written, else by position.

    Exit code 0 when both say the same, 1 when accounts differ, 3 when they can't be compared.

    Examples
    --------
    siaga journal compare
    siaga journal compare --dsn "service=mirror"
    """
    if dsn is not None:
        refuse_secrets(dsn)
    found = _config(config)
    login = dsn if dsn is not None else found.connection()
    compared = comparing.compare(login, load_map(found.map), found.directory, deadline_s=deadline)
    document = {**asdict(compared), "lsn": lsn.show(compared.lsn), "matches": compared.matches}
    if json:
        output.document(document)
    else:
        print(f"{compared.accounts} accounts at {document['lsn']}: {len(compared.differences)} differ")
        rows = [
            (d.account, d.currency, *(side.count if side else None for side in (d.database, d.journal)))
            + tuple(side.amount_sum if side else None for side in (d.database, d.journal))
            for d in compared.differences[:SHOWN_MAX]
        ]
        if rows:
            columns = ("account", "currency", "entries", "in journal", "sum", "in journal")
            output.table(columns, rows)
    return Exit.DONE if compared.matches else Exit.DOES_NOT_HOLD


@app.command
def lost(*, beyond: Beyond = None, config: Config = None, json: Json = False) -> int:
    """List the transactions that the journal holds and the database lost, by id and account.

    Those acknowledged apart from those in doubt. Exit code 0 when there is none, 1 when there are some.

    Examples
    --------
    siaga journal lost
    siaga journal lost --beyond 0/16B3748 --json
    """
    planned = _planned(_config(config), beyond, ())
    open_ones = [each for each in planned if each.why != _BACK]
    if json:
        output.document({"lost": [_document(each) for each in planned], "open": len(open_ones)})
    else:
        _print_planned(planned)
    return Exit.DOES_NOT_HOLD if open_ones else Exit.DONE


_BACK = "it is in the database again"


@app.command(name="replay")
def give_back(
    *,
    target: Annotated[Path | None, Parameter(help="Where to: a JSON file with `sql` or `http`.")] = None,
    key: Annotated[tuple[str, ...], Parameter(help="Also this one, whatever its class: a person decided.")] = (),
    beyond: Beyond = None,
    dry_run: Annotated[bool, Parameter(negative="", help="Say what would be done, and do nothing.")] = False,
    config: Config = None,
    json: Json = False,
) -> int:
    """Give lost transactions back through the application's own idempotent path, each with its original key.

    By itself only what was acknowledged and moved balances alone; everything else waits for `--key`.
    Exit code 0 when all that was asked for is in the ledger, 1 when the application refused some, 5 when it was silent.

    Examples
    --------
    siaga journal replay --dry-run
    siaga journal replay --key 7b0c3a52-7d1f-4c43-b8a5-0f3a0c6a9f11
    """
    planned = _planned(_config(config), beyond, key)
    unknown = sorted(set(key) - {each.lost.key for each in planned})
    if unknown:
        raise BadInput(f"no lost transaction has the key `{unknown[0]}`", hint="`siaga journal lost` lists them.")
    if dry_run:
        if json:
            output.document({"would_do": [_document(each) for each in planned]})
        else:
            _print_planned(planned)
        return Exit.DONE
    chosen = [each.lost for each in planned if each.step is Step.REPLAY]
    outcomes = asyncio.run(_replay(replay.load(target or _platform_replay()), chosen, quiet=json))
    refused = [outcome for outcome in outcomes if not outcome["done"]]
    if json:
        output.document({"replayed": outcomes, "left": [_document(e) for e in planned if e.step is Step.LEAVE]})
    else:
        output.table(("key", "in the ledger", "answer"), [(o["key"], o["done"], o["said"]) for o in outcomes])
        print(f"{len(outcomes) - len(refused)} given back, {len(refused)} refused, {len(planned) - len(chosen)} left")
    return Exit.DOES_NOT_HOLD if refused else Exit.DONE


async def _replay(config: replay.ReplayConfig, chosen: list[Lost], *, quiet: bool) -> list[dict[str, Any]]:
    path = await replay.connect(config)
    outcomes = []
    try:
        shown = track(chosen, "replay", console=Console(stderr=True), disable=quiet, transient=True)
        for each in shown:
            outcome = await path.give_back(each)
            outcomes.append({"id": each.id, "key": each.key, "done": outcome.done, "said": outcome.said})
    finally:
        await path.close()
    return outcomes


@app.command
def prepare(
    *,
    dsn: Annotated[str, Parameter(help="As the owner of the ledger's tables; no password in it.")],
    role: Annotated[str, Parameter(help="The journal's own role, which has LOGIN and REPLICATION.")] = settings.ROLE,
    config: Config = None,
    json: Json = False,
) -> int:
    """Make the publications and grant the rights that the journal needs; as often as you like.

    Exit code 2 when role, map or rights do not allow it, 5 when the server does not answer: nothing was changed.

    Examples
    --------
    siaga journal prepare --dsn "service=ledger-owner" --config journal.json
    """
    refuse_secrets(dsn)
    found = _config(config)
    asyncio.run(install.prepare_at(dsn, load_map(found.map), found.marker, role))
    if json:
        output.document({"prepared": True})
    return Exit.DONE


def _config(path: Path | None) -> JournalConfig:
    return settings.load(path if path is not None else embedded.config_path(lifecycle.required(account.home())))


def _platform_replay() -> Path:
    return embedded.replay_path(lifecycle.required(account.home()))


def _planned(config: JournalConfig, beyond: str | None, named: tuple[str, ...]) -> list[Planned]:
    mapped = load_map(config.map).transactions
    position = lsn.parse(beyond) if beyond is not None else None

    def read(contents: segments.Contents) -> list[Planned]:
        found = (
            reading.beyond(contents, position, mapped) if position is not None else reading.abandoned(contents, mapped)
        )
        return list(plan(found, named=named, given_back=reading.given_back(contents, mapped)))

    return segments.read_settled(config.directory, read)


def _document(planned: Planned) -> dict[str, Any]:
    each = planned.lost
    return {
        **asdict(each),
        "replay": str(each.replay),
        "lsn": lsn.show(each.lsn),
        "committed_at": _time(each.committed_us),
        "step": str(planned.step),
        "why": planned.why,
    }


def _time(microseconds: int) -> str:
    return datetime.fromtimestamp(microseconds / 1e6, UTC).isoformat(timespec="milliseconds")


def _print_planned(planned: list[Planned]) -> None:
    rows = [
        (
            each.lost.id,
            "acknowledged" if each.lost.acknowledged else "in doubt",
            each.lost.kind,
            ", ".join(f"{entry.account}: {entry.amount}" for entry in each.lost.entries),
            str(each.step),
            each.why,
        )
        for each in islice(planned, SHOWN_MAX)
    ]
    output.table(("transaction", "", "type", "account: amount", "then", "why"), rows)
    print(f"{len(planned)} lost transactions" + (f", {SHOWN_MAX} shown" if len(planned) > SHOWN_MAX else ""))
