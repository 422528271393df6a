"""Until when a version is mended by those who make it: a dated table, and what the site adds to it."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path

from siaga.site.health import EndOfLife


@dataclass(frozen=True, slots=True)
class Ending:
    """The last day of one version, and who says so."""

    product: str
    cycle: str
    until: date
    source: str


def table(added: Iterable[EndOfLife] = ()) -> Mapping[tuple[str, str], Ending]:
    """Every known ending by product and version; the site's own word goes before the built-in one."""
    own = {(each.product, each.cycle): Ending(each.product, each.cycle, each.until, each.source) for each in added}
    return {**_built_in(), **own}


def ending(known: Mapping[tuple[str, str], Ending], product: str, version: str) -> Ending | None:
    """The ending of the longest known beginning of the version: `18.1` is of cycle `18`, `180` is not."""
    parts = version.split(".")
    for length in range(len(parts), 0, -1):
        found = known.get((product, ".".join(parts[:length])))
        if found is not None:
            return found
    return None


@cache
def _built_in() -> Mapping[tuple[str, str], Ending]:
    document = tomllib.loads(Path(__file__).with_name("end_of_life.toml").read_text(encoding="utf-8"))
    return {
        (product["name"], cycle): Ending(product["name"], cycle, until, product["source"])
        for product in document["product"]
        for cycle, until in product["cycles"].items()
    }
