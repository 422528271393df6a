"""The post-incident report in Markdown and HTML, from the record alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Any
from zoneinfo import ZoneInfo

import jinja2

from siaga.incidents.model import Incident
from siaga.incidents.timeline import Entry

REVIEW_WORKING_DAYS = 5


class Form(StrEnum):
    """How the report is written."""

    MARKDOWN = "md"
    HTML = "html"


@dataclass(frozen=True, slots=True)
class Found:
    """What a report is made of."""

    incident: Incident
    site: str
    timezone: str
    told: str
    entries: Sequence[Entry]
    deliveries: Sequence[Mapping[str, Any]]
    trouble: str = ""
    """Why the timeline is not whole; empty when it is."""


def render(found: Found, form: Form) -> str:
    """The report."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("siaga.incidents"),
        autoescape=jinja2.select_autoescape(("html.j2",)),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    zone = ZoneInfo(found.timezone)
    environment.filters["moment"] = lambda at: _shown(at, zone)
    environment.filters["cell"] = _cell
    incident, figures = found.incident, found.incident.figures()
    moments = [
        ("Detected", incident.detected_at, figures["detected_s"]),
        ("Declared", incident.highest.at, figures["declared_s"]),
        ("First told", incident.notified_at, figures["notified_s"]),
        ("Acknowledged", incident.acknowledged_at, figures["acknowledged_s"]),
        ("Mitigated", incident.mitigated_at, figures["mitigated_s"]),
        ("Resolved", incident.resolved_at, figures["resolved_s"]),
    ]
    return environment.get_template(f"report.{form}.j2").render(
        incident=incident,
        site=found.site,
        moments=moments,
        told=found.told,
        entries=found.entries,
        deliveries=found.deliveries,
        trouble=found.trouble,
        review_due=_review_due(incident.resolved_at.astimezone(zone).date()) if incident.resolved_at else None,
    )


def _shown(at: datetime, zone: ZoneInfo) -> str:
    local = at.astimezone(zone)
    return f"{local:%Y-%m-%d %H:%M:%S} {local:%Z} ({at.astimezone(UTC):%H:%M:%S} UTC)"


def _cell(text: str) -> str:
    """Words from outside in a cell of a Markdown table: on one line, and never markup."""
    plain = " ".join(str(text).split())
    for mark in ("\\", "|", "<", ">", "[", "]", "*", "_", "`"):
        plain = plain.replace(mark, f"\\{mark}")
    return plain


def _review_due(resolved: date) -> date:
    due, left = resolved, REVIEW_WORKING_DAYS
    while left:
        due += timedelta(days=1)
        left -= due.weekday() < 5
    return due
