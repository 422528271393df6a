"""`siaga ledger fence`, `release`, `accounts`, `gate`: accounts are closed by default after a recovery (DRP-3.2b)."""

from __future__ import annotations

import asyncio
import json as json_format
import os
import pwd
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from siaga.cli import output
from siaga.cli.output import Json
from siaga.errors import BadInput, Exit
from siaga.ledger import gate_install
from siaga.ledger.fence import SystemPolicy
from siaga.ledger.gate import AccountState, Gate, Moving, Released
from siaga.ledger.gate_ledger import Movements
from siaga.ledger.load import load
from siaga.ledger.model import Scope
from siaga.ledger.proof import Proof, proof
from siaga.ledger.source import refuse_secrets
from siaga.platform import account as platform_account
from siaga.platform import gate as embedded
from siaga.platform import lifecycle

Dsn = Annotated[
    str | None,
    Parameter(help="The ledger's database as the role siaga_gate, no password in it; by default the platform here."),
]
DryRun = Annotated[bool, Parameter(negative="", help="Say what would change, and change nothing.")]
SHOWN_MAX = 100


def fence(
    *,
    reason: Annotated[str | None, Parameter(help="Why; it is shown to whoever asks about an account.")] = None,
    scope: Annotated[
        Scope, Parameter(help="What a check must compare with to open accounts: `internal` only after a crash.")
    ] = Scope.JOURNAL,
    settle: Annotated[bool, Parameter(negative="", help="Close nothing; only wait for movements from before.")] = False,
    deadline: Annotated[float, Parameter(help="Seconds to wait for movements from before.")] = 30.0,
    dsn: Dsn = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> int:
    """Close every account at once, and wait for the movements that were let through before.

    Whatever asks from now on is refused. Exit code 0 when the fence is settled, 3 when movements from before have
    not ended within the deadline: they are named, and no verdict opens an account until they have.

    Examples
    --------
    siaga ledger fence --reason "restored to 03:15" --dry-run
    siaga ledger fence --reason "restored to 03:15"
    siaga ledger fence --settle
    """
    _refuse(dsn)
    if (reason is None) is not settle:
        found = "both" if settle else "neither"
        raise BadInput(f"--reason, --settle: found {found}, expected one of them", hint="siaga ledger fence --help")
    return asyncio.run(_fence(_gate(dsn), reason, scope, deadline, dry_run, json))


async def _fence(gate: Gate, reason: str | None, scope: Scope, deadline_s: float, dry_run: bool, json: bool) -> int:
    if dry_run:
        moving: Sequence[Moving] = await gate.moving()
    else:
        if reason is not None:
            raised = await gate.raise_generation(reason, by=_who(), scope=scope)
            print(f"generation {raised.generation}: every account is closed", file=sys.stderr)
        waiting = await gate.moving()
        if waiting:
            print(f"waiting for movements from before: {_named(waiting)}", file=sys.stderr)
        moving = await gate.settle(deadline_s)
    standing = await gate.standing()
    document = {
        "dry_run": dry_run,
        "generation": standing.generation + (dry_run and reason is not None),
        "settled": not dry_run and not moving,
        "in_flight": [str(found) for found in moving],
        "standing": asdict(standing),
        **_movements(await gate.movements()),
    }
    if json:
        output.document(document)
    elif dry_run:
        closing = f"would close every account: generation {document['generation']}; " if reason is not None else ""
        print(f"{closing}in flight now: {_named(moving)}")
    else:
        print("settled" if not moving else f"not settled: {_named(moving)} began before and may still commit")
    return Exit.UNDETERMINED if moving and not dry_run else Exit.DONE


def release(
    *,
    report: Annotated[Path | None, Parameter(name="--from", help="Output of `siaga ledger check --json`.")] = None,
    account: Annotated[tuple[str, ...], Parameter(help="Only this account; may be given several times.")] = (),
    override: Annotated[str | None, Parameter(help="Open --account without a verdict; why, and who agreed.")] = None,
    system_accounts: Annotated[
        SystemPolicy, Parameter(help="Whether a tainted account of the platform itself serves.")
    ] = SystemPolicy.STRICT,
    dsn: Dsn = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> int:
    """Open the accounts that a report verifies; the others stay closed with the entries at fault.

    Refused (exit code 4) when the report proves nothing about this generation, or when an account that was named is
    not verified. Exit code 0 when every account is open, or those that were named; 1 when some stay closed.

    Examples
    --------
    siaga ledger check --json > report.json; siaga ledger release --from report.json
    siaga ledger release --from report.json --account 4711 --dry-run
    siaga ledger release --account 4711 --override "repaired by hand, seen with Bob"
    """
    _refuse(dsn)
    if override is not None and (report is not None or not account):
        raise BadInput(
            "--override: expected with --account, and without --from",
            hint="It opens named accounts that no report verifies.",
        )
    if report is None and not account:
        raise BadInput("--from, --account: found neither", hint="siaga ledger release --help")
    found = _read(report) if report is not None else None
    return asyncio.run(_release(_gate(dsn), found, account, override, system_accounts, dry_run, json))


async def _release(
    gate: Gate,
    found: Proof | None,
    accounts: tuple[str, ...],
    override: str | None,
    policy: SystemPolicy,
    dry_run: bool,
    json: bool,
) -> int:
    if override is not None:
        released = await gate.release_by_override(accounts, override, by=_who(), dry_run=dry_run)
    elif found is None:
        raise await gate.refusal(accounts[0])
    elif accounts:
        released = await gate.release_accounts(found, accounts, by=_who(), policy=policy, dry_run=dry_run)
    else:
        released = await gate.release(found, by=_who(), policy=policy, dry_run=dry_run)
    if json:
        output.document({"dry_run": dry_run, **_document(released)})
    else:
        _print_released(released, dry_run)
    whole = released.standing.is_open and not released.standing.closed_count
    return Exit.DONE if accounts or whole else Exit.DOES_NOT_HOLD


def accounts(
    account: Annotated[str | None, Parameter(help="An account; without it, those that are closed.")] = None,
    /,
    *,
    dsn: Dsn = None,
    json: Json = False,
) -> int:
    """Show whether an account may move money, by which verdict, and why not.

    Exit code 0 when it may (without an account: when all may), 1 when not.

    Examples
    --------
    siaga ledger accounts 4711
    siaga ledger accounts
    """
    _refuse(dsn)
    gate = _gate(dsn)
    if account is None:
        return asyncio.run(_closed(gate, json))
    state = asyncio.run(gate.account(account))
    if json:
        output.document(asdict(state))
    else:
        print(f"{state.account}: {'open' if state.is_open else 'closed'} (generation {state.generation}), {state.why}")
        print(f"verdict: {f'{state.verdict_digest} at {state.verdict_lsn}' if state.verdict_lsn else 'none'}")
        _print_entries([state])
    return Exit.DONE if state.is_open else Exit.DOES_NOT_HOLD


async def _closed(gate: Gate, json: bool) -> int:
    standing, states, moves = await gate.standing(), await gate.closed(SHOWN_MAX), await gate.movements()
    if json:
        closed = [asdict(state) for state in states]
        output.document({"standing": asdict(standing), "closed": closed, **_movements(moves)})
    else:
        default = "open" if standing.is_open else f"closed: {standing.reason}"
        print(f"generation {standing.generation}: {default}; {standing.closed_count} accounts closed by a verdict")
        print(_possible(moves))
        if states:
            output.table(("account", "why"), [(state.account, state.why) for state in states])
    return Exit.DONE if standing.is_open and not standing.closed_count else Exit.DOES_NOT_HOLD


def install_gate(
    *,
    map: Annotated[Path, Parameter(help="The ledger map, as for `siaga ledger check`.")],
    dsn: Annotated[str, Parameter(help="The database as its owner, no password in it.")],
    closed: Annotated[bool, Parameter(negative="", help="A new gate stands closed: the ledger was recovered.")] = False,
    trigger: Annotated[bool, Parameter(help="Refuse movements of closed accounts even where nobody asks.")] = True,
) -> int:
    """Install the gate into a ledger's database, or bring it to this version; one that exists stays as it stands.

    The application then calls `siaga.closed_account(...)` in the transaction of each movement; its role needs USAGE on
    the schema `siaga` and EXECUTE on that function. The role `siaga_gate` needs a way to log in.

    Examples
    --------
    siaga ledger gate --map ledger.toml --dsn "host=db dbname=shop user=postgres"
    siaga ledger gate --map ledger.toml --dsn "service=shop" --no-trigger
    """
    refuse_secrets(dsn)
    ledger = load(map)

    async def both() -> None:
        await gate_install.install(dsn, is_open=not closed)
        await gate_install.guard(dsn, ledger, trigger=trigger)

    asyncio.run(both())
    print("the gate is installed", file=sys.stderr)
    return Exit.DONE


def _gate(dsn: str | None) -> Gate:
    if dsn is None:
        return Gate(embedded.conninfo(lifecycle.required(platform_account.home())))
    return Gate(dsn)


def _refuse(dsn: str | None) -> None:
    """First of all: whatever else is wrong, a secret in an argument is out already."""
    if dsn is not None:
        refuse_secrets(dsn)


def _who() -> str:
    return pwd.getpwuid(os.geteuid()).pw_name


def _read(path: Path) -> Proof:
    try:
        document = json_format.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(f"--from {path}: {error.strerror}", hint="siaga ledger check --json > report.json") from None
    except (ValueError, RecursionError):
        raise BadInput(f"--from {path}: no JSON document", hint="siaga ledger check --json > report.json") from None
    return proof(document)


def _document(released: Released) -> dict[str, Any]:
    decision = released.decision
    return {
        **asdict(decision),
        "closed": [{"account": account, **asdict(fault)} for account, fault in decision.closed.items()],
        "standing": asdict(released.standing),
        "in_flight": [str(found) for found in released.moving],
        **_movements(released.movements),
    }


def _print_released(released: Released, dry_run: bool) -> None:
    print(("would do: " if dry_run else "") + released.decision.reason)
    print(_possible(released.movements))
    if released.moving:
        print(f"not settled: {_named(released.moving)} began before an account closed", file=sys.stderr)
    closed = list(released.decision.closed.items())
    if closed:
        output.table(("stays closed", "why"), [(account, fault.why) for account, fault in closed[:SHOWN_MAX]])
    if len(closed) > SHOWN_MAX:
        print(f"and {len(closed) - SHOWN_MAX} more")


def _print_entries(states: Sequence[AccountState]) -> None:
    rows = [(state.account, json_format.dumps(entry)) for state in states for entry in state.entries]
    if rows:
        output.table(("account", "entry at fault"), rows)


def _movements(found: Movements | None) -> dict[str, Any]:
    return {
        "movements_recent": found.recent if found else None,
        "movements_possible": found.possible if found else None,
        "share_of_movements_possible": found.share if found else None,
    }


def _possible(found: Movements | None) -> str:
    if found is None or found.share is None:
        return "share of movements possible: not measured"
    return f"share of movements possible: {100 * found.share:.1f} % of the last {found.recent}"


def _named(moving: Sequence[Moving]) -> str:
    return ", ".join(map(str, moving)) or "nothing"
