"""Reads a site file (TOML) and names everything that is wrong with it at once.

Each line of the refusal says file, field, what was found and what was expected; nothing is ever half-loaded.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from pydantic import ValidationError

from siaga.errors import BadInput
from siaga.site import mistakes
from siaga.site.consistency import problems
from siaga.site.model import Site
from siaga.site.wording import nearest, shown

SITE_BYTES_MAX = 1 << 20
"""A site file has a few kilobytes; more is another file given by mistake, and is not parsed."""

REWRITE = "restore the file, or remove it and start again: it is written at each start"

EMBEDDED_ROUND_TRIP_MS = 160
"""The distance between two embedded regions (decision 23)."""

HINT = "`examples/site.toml` is a complete site file with every key explained"


def embedded(name: str = "embedded") -> Site:
    """The site that `siaga up` builds by itself: two regions of two nodes, every server on this machine."""
    return _validated({"name": name, "embedded": True}, origin=f"embedded site `{name}`")


def load(path: Path) -> Site:
    """The site in the TOML file `path`; BadInput names every mistake in it."""
    return _validated(_document(path), origin=str(path))


def to_json(site: Site) -> str:
    """The site as JSON, for the platform's state directory.

    Without what nobody has set, so that an older siaga reads it as long as nothing new is used.
    """
    return site.model_dump_json(indent=2, exclude_unset=True)


def from_json(text: str, *, origin: str = "site") -> Site:
    """The site that `to_json` wrote; BadInput where somebody changed it for the worse."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{origin}: not valid JSON: {_lower_first(str(error))}", hint=REWRITE) from error
    if not isinstance(document, dict):
        raise BadInput(f"{origin}: {shown(document)}, expected a site as JSON", hint=REWRITE)
    return _validated(document, origin=origin)


def _document(path: Path) -> dict[str, Any]:
    text = _text(path)
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        where = str(error).replace("at end of document", f"at the end, line {text.count(chr(10)) + 1}")
        raise BadInput(f"{path}: not valid TOML: {_lower_first(where)}", hint=HINT) from error
    except RecursionError as error:
        raise BadInput(f"{path}: not valid TOML: nested too deep to read", hint=HINT) from error
    except ValueError as error:
        raise BadInput(f"{path}: not valid TOML: a number of too many digits to read", hint=HINT) from error


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(SITE_BYTES_MAX + 1)
    except FileNotFoundError as error:
        raise BadInput(f"{path}: no such file, expected a site file in TOML", hint=HINT) from error
    except IsADirectoryError as error:
        raise BadInput(f"{path}: a directory, expected a site file in TOML", hint="name the file inside it") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise BadInput(f"{path}: not readable: {_lower_first(reason)}", hint="check the path and its rights") from error
    if len(content) > SITE_BYTES_MAX:
        raise BadInput(f"{path}: more than {SITE_BYTES_MAX} bytes, expected a site file of a few kilobytes", hint=HINT)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        found = f"byte 0x{content[error.start]:02x}"
        raise BadInput(f"{path}: line {line}: not UTF-8, found {found}", hint="save the file as UTF-8") from error


def _validated(document: Mapping[str, Any], *, origin: str) -> Site:
    complete = _with_embedded_defaults(document) if document.get("embedded") is True else document
    try:
        site = Site.model_validate(complete)
        lines = []
    except ValidationError as error:
        lines = [*mistakes.lines(error, complete, Site), *problems(complete)]
    lines += _time_zone_lines(complete)
    if lines:
        raise _refusal(origin, lines)
    return site


def _refusal(origin: str, lines: Sequence[str]) -> BadInput:
    return BadInput("\n".join(f"{origin}: {line}" for line in dict.fromkeys(lines)), hint=HINT)


def _with_embedded_defaults(document: Mapping[str, Any]) -> dict[str, Any]:
    regions = document.get("regions", [_region(name) for name in ("sgp", "fra")])
    names = _names(regions)
    home = names[0] if names else "sgp"
    return {
        "regions": regions,
        "distances": [_distance(*pair) for pair in combinations(names, 2)],
        "transactions": {"database": "wallet", "region": home, "servers": _servers("transactions", 2)},
        "history": {"database": "history", "region": home, "servers": _servers("history", 1)},
        "sessions": {"servers": _servers("sessions", 6)},
        "vendors": [{"name": name} for name in ("alpha", "beta", "gamma")],
        **document,
    }


def _names(regions: object) -> list[str]:
    tables = [r for r in regions if isinstance(r, dict)] if isinstance(regions, list) else []
    return list(dict.fromkeys(r["name"] for r in tables if isinstance(r.get("name"), str)))


def _region(name: str) -> dict[str, Any]:
    return {"name": name, "nodes": [{"name": f"{name}-{number}"} for number in (1, 2)]}


def _distance(one: str, other: str) -> dict[str, Any]:
    return {"between": [one, other], "round_trip_ms": EMBEDDED_ROUND_TRIP_MS}


def _servers(kind: str, count: int) -> list[dict[str, Any]]:
    return [{"name": f"{kind}-{number}"} for number in range(1, count + 1)]


def _time_zone_lines(document: Mapping[str, Any]) -> Iterator[str]:
    zone = document.get("timezone")
    if not isinstance(zone, str):
        return
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        yield f"timezone = {shown(zone)}: unknown time zone{nearest(zone, available_timezones())}"


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:].rstrip(".")
