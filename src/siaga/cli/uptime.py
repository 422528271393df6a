"""`siaga uptime`: the minutes of a month, and what is left of them (ZDT-1). Without a controller its store answers."""

from __future__ import annotations

import sys
import time
from datetime import datetime
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from cyclopts import App, Parameter

from siaga.cli import ask, output
from siaga.cli.output import Json
from siaga.cli.uptime_place import measured
from siaga.errors import BadInput, Exit, StoreFault, Unreachable
from siaga.platform import account, lifecycle
from siaga.sop.month import ZONE, Month
from siaga.uptime.months import Verdict, figures

app = App(name="uptime", help="The month's minutes: up, down, not measured, and what is left of the budget (ZDT-1).")

_CODES = {
    Verdict.HOLDS: Exit.DONE,
    Verdict.DOES_NOT_HOLD: Exit.DOES_NOT_HOLD,
    Verdict.NOT_DETERMINED: Exit.UNDETERMINED,
}


@app.default
def show(*, month: Annotated[str, Parameter(help="Such as 2026-11; the running one.")] = "", json: Json = False) -> int:
    """Show a month: uptime to four decimals, how much of it was measured, the budget, and every outage.

    Exit code 0 when it holds (so far), 1 when it does not, 3 when too much of it was not measured. Works with the
    controller dead, and then counts the time since as not measured.

    Examples
    --------
    siaga uptime
    siaga uptime --month 2026-10 --json
    """
    asked = Month.parse(month) if month else None
    try:
        found = ask.get(f"/v1/uptime{f'?month={asked}' if asked else ''}")
    except Unreachable as unreachable:
        print(f"{unreachable.message}: this is what was kept, up to its last entry", file=sys.stderr)
        found = _from_store(asked)
    if json:
        output.document(found)
    else:
        _print(found)
    return _CODES[Verdict(found["verdict"])]


@app.command
def reclassify(
    *,
    from_: Annotated[str, Parameter(name="--from", help="ISO 8601; without a zone it is Asia/Jakarta.")],
    to: Annotated[str, Parameter(help="The first moment after it.")],
    as_: Annotated[Literal["good", "bad", "unknown"], Parameter(name="--as", help="What it shall count as.")],
    reason: Annotated[str, Parameter(help="Goes into the evidence, with your name.")],
    json: Json = False,
) -> int:
    """Have a past stretch count as something else. What was measured stays and is shown beside it.

    Examples
    --------
    siaga uptime reclassify --from "2026-11-23 03:00:10" --to "2026-11-23 03:01" --as bad --reason "INC-12"
    """
    wanted = {"from": _moment("from", from_), "to": _moment("to", to), "as": as_, "reason": reason}
    done = ask.post("/v1/uptime/reclassify", wanted)
    if json:
        output.document(done)
    else:
        print(f"counts as {done['as']}, by record {done['record']} of the evidence")
        _print(done["month"])
    return Exit.DONE


@app.command
def export(what: Literal["openslo", "rules"]) -> int:
    """Print the objective as OpenSLO v1, or alert rules for Prometheus, as YAML.

    Examples
    --------
    siaga uptime export openslo
    siaga uptime export rules > siaga-rules.yml
    """
    # Only here: no other command needs YAML.
    import yaml  # type: ignore[import-untyped]

    from siaga.uptime import export as documents

    site = lifecycle.required(account.home()).site
    document = documents.openslo(site.name, site.limits.uptime) if what == "openslo" else documents.alert_rules()
    yaml.safe_dump(document, sys.stdout, sort_keys=False, allow_unicode=True)
    return Exit.DONE


def _from_store(asked: Month | None) -> dict[str, Any]:
    layout = lifecycle.required(account.home())
    store = measured(layout)
    try:
        now_ms = time.time_ns() // 1_000_000
        month = asked or Month.holding_ms(now_ms)
        if month.begin_ms > now_ms:
            raise BadInput(
                f"`--month` is `{month}`, expected at most the running one", hint="Nothing is known of what is to come."
            )
        found = figures(
            month,
            store.slices(month.begin_ms, month.end_ms),
            store.reclassifications(),
            began_ms=store.began_ms(),
            now_ms=now_ms,
            limits=layout.site.limits.uptime,
        )
        return {**found.to_document(), "from": "store"}
    except StoreFault as error:
        raise Unreachable(
            f"no controller answers, and the slices can't be read: {error}",
            hint="With state in PostgreSQL they are there: look at the part `control-db` with `siaga status`.",
        ) from error
    finally:
        store.close()


def _moment(name: str, text: str) -> str:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise BadInput(
            f'{name}: found {text!r}, expected a moment such as "2026-11-23 03:00:10"', hint="Nothing was changed."
        ) from None
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=ZoneInfo(ZONE))).isoformat()


def _print(found: dict[str, Any]) -> None:
    percent = "not measured" if found["uptime_percent"] is None else f"{found['uptime_percent']} %"
    weighted = "" if found["weighted_uptime_percent"] is None else f"{found['weighted_uptime_percent']} %"
    left_ms = found["budget_left_ms"]
    rows = [
        ("month", f"{found['month']} ({found['zone']}){', so far' if found['running'] else ''}"),
        ("verdict", found["verdict"]),
        ("why", found["why"]),
        ("raw uptime", percent),
        ("measured", "" if found["covered_percent"] is None else f"{found['covered_percent']} % of the time"),
        ("by users affected", weighted),
        ("budget", f"{found['budget_ms'] / 1000:.3f} s, {left_ms / 1000:.3f} s left"),
        ("bad", f"{found['bad_ms'] / 1000:.3f} s"),
        ("unknown", f"{found['unknown_ms'] / 1000:.3f} s"),
    ]
    output.table(("", ""), rows)
    if found["outages"]:
        print()
        output.table(
            ("outage from", "to", "lasted s", "regions", "users affected", "what failed first"),
            [
                [
                    each["onset"],
                    each["ended"],
                    f"{(each['ended_ms'] - each['onset_ms']) / 1000:.3f}",
                    ", ".join(each["regions"]),
                    f"{each['share_ppm'] / 10_000:.1f} %",
                    each["first_failure"],
                ]
                for each in found["outages"]
            ],
        )
    if found["reclassifications"]:
        print()
        output.table(
            ("from", "to", "counts as", "by", "reason", "record"),
            [[r["begin"], r["end"], r["as"], r["actor"], r["reason"], r["record"]] for r in found["reclassifications"]],
        )
