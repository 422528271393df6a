"""The report as one JSON document (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import date, datetime
from typing import Any

from siaga.reports.model import Report
from siaga.sop import adherence
from siaga.sop.month import ZONE, Month


def to_document(report: Report) -> dict[str, Any]:
    """Plain JSON values; times in ISO 8601, UTC."""
    return {
        **_plain(report),
        "zone": ZONE,
        "begin": report.month.begin.isoformat(),
        "end": report.month.end.isoformat(),
        "verdict": str(report.verdict),
        "measured": report.measured,
    }


def _plain(value: Any) -> Any:
    if isinstance(value, adherence.Standing):
        return adherence.to_document(value)
    if isinstance(value, Month):
        return str(value)
    if isinstance(value, datetime | date):
        return value.isoformat()
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(name): _plain(content) for name, content in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(each) for each in value]
    return str(value) if isinstance(value, str) else value
