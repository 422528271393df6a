"""The report as one self-contained HTML file: no script, nothing that is fetched, and good on A4."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from jinja2 import Environment, PackageLoader, StrictUndefined

from siaga.reports import strip
from siaga.reports.model import Report
from siaga.reports.month import minutes, place
from siaga.reports.period import local
from siaga.sop.adherence import Adherence
from siaga.sop.clauses import CLAUSES
from siaga.sop.month import ZONE

ROWS_MAX = 200
"""Of a table that a bad month makes long; the rest is counted, and the command that shows it is named."""
SYMBOLS = {
    Adherence.HOLDS: "\u25cf",
    Adherence.AT_RISK: "\u25b2",
    Adherence.BROKEN: "\u2716",
    Adherence.NOT_MEASURED: "\u25cb",
}
"""Beside the colour, for print in black and for who can't tell colours apart."""


@dataclass(frozen=True, slots=True)
class Look:
    """How a day is drawn."""

    fill: str
    stroke: str
    ink: str
    mark: str


LOOKS = {
    strip.DayState.GOOD: Look("#9fd3b9", "#9fd3b9", "#1d2733", ""),
    strip.DayState.BAD: Look("#a4161a", "#a4161a", "#ffffff", "\u2716"),
    strip.DayState.UNKNOWN: Look("#c9cfd6", "#c9cfd6", "#1d2733", "?"),
    strip.DayState.OUTSIDE: Look("#ffffff", "#b8c0c9", "#1d2733", ""),
}


def render(report: Report) -> str:
    """The whole document. Whatever comes from records is escaped."""
    environment = Environment(
        loader=PackageLoader("siaga.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        local=_local, minutes=minutes, seconds=seconds, place=place, slug=_slug, sentence=_sentence
    )
    return environment.get_template("month.html.j2").render(
        report=report,
        clauses=CLAUSES,
        days=strip.days(report),
        looks=LOOKS,
        symbols=SYMBOLS,
        adherences=tuple(Adherence),
        zone=ZONE,
        rows_max=ROWS_MAX,
    )


def _local(moment: datetime | None) -> str:
    return "\u2013" if moment is None else local(moment)


def seconds(length_s: float | None) -> str:
    """`4.2 s`, `12.5 min`, `3.1 h`; a dash where it is not known."""
    if length_s is None:
        return "\u2013"
    if length_s < 120:
        return f"{length_s:.1f} s"
    return f"{length_s / 60:.1f} min" if length_s < 7200 else f"{length_s / 3600:.1f} h"


def _sentence(words: object) -> str:
    """With a capital in front; the rest as it is, so that WIB stays WIB."""
    text = str(words)
    return text[:1].upper() + text[1:]


def _slug(state: object) -> str:
    """The name of a state as a class of the style sheet."""
    return str(state).replace(" ", "-").replace(",", "").lower()
