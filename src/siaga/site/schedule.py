"""What a site says about when and under which conditions procedures run: appointments, freezes, gates, modes.

All of it only ever adds caution: a freeze takes time away, a gate adds a step, a highest mode lowers what clauses
may do by themselves.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from enum import StrEnum
from typing import Annotated, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    PlainValidator,
    StrictBool,
    StrictStr,
    model_validator,
)
from pydantic_core import PydanticCustomError
from whenever import PlainDateTime

from siaga.site.fields import Name, Strict, Text, Url
from siaga.sop.clauses import ClauseId
from siaga.sop.limits import TimeOfDay
from siaga.sop.modes import Mode

SECONDS_MAX = 7 * 24 * 3600
YEAR_MIN, YEAR_MAX = 2000, 2200
UPDATE_DATABASE = "update-database"
"""The appointment, and runbook, of PMT-2.1."""


def _zone(name: str) -> str:
    try:
        PlainDateTime(2026, 1, 1).assume_tz(name)
    except ValueError:
        raise PydanticCustomError("zone", "a time zone such as Asia/Jakarta, never an offset") from None
    return name


def _weekday(name: object) -> object:
    if not isinstance(name, str) or name not in DAYS:
        raise PydanticCustomError("weekday", "a day such as Wednesday")
    return name


def _moment(value: object) -> datetime:
    found = value
    if isinstance(value, str):
        try:
            found = datetime.fromisoformat(value) if "T" in value else date.fromisoformat(value)
        except ValueError:
            found = None
    if not isinstance(found, date) or not YEAR_MIN <= found.year <= YEAR_MAX:
        raise PydanticCustomError("moment", "a date or a time, such as 2026-12-24 or 2026-12-24T18:00:00+07:00")
    return found if isinstance(found, datetime) else datetime.combine(found, time())


def _last_moment(value: object) -> datetime:
    moment = _moment(value)
    whole_day = "T" not in value if isinstance(value, str) else not isinstance(value, datetime)
    # "until the 26th" means that the 26th is frozen too.
    return moment + timedelta(days=1) if whole_day else moment


def _expression(text: str) -> str:
    try:
        re.compile(text)
    except (re.error, RecursionError, OverflowError):
        raise PydanticCustomError("expression", "a regular expression such as CHG-[0-9]+") from None
    return text


def _scalar(value: object) -> str | int | bool:
    if not isinstance(value, str | int):
        raise PydanticCustomError("scalar", "text in quotes, a whole number, true or false")
    return value


def _modes(value: object) -> object:
    clauses, modes = tuple(ClauseId), tuple(Mode)
    if not isinstance(value, Mapping) or not all(key in clauses and value[key] in modes for key in value):
        raise PydanticCustomError(
            "modes", 'clauses with a mode each, such as "PMT-2.1" = "approve" (observe, advise, approve or act)'
        )
    return value


DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
Weekday = Annotated[str, BeforeValidator(_weekday)]
Zone = Annotated[StrictStr, AfterValidator(_zone)]
Moment = Annotated[datetime, BeforeValidator(_moment), PlainSerializer(datetime.isoformat, return_type=str)]
LastMoment = Annotated[datetime, BeforeValidator(_last_moment), PlainSerializer(datetime.isoformat, return_type=str)]
Seconds = Annotated[float, Field(gt=0, le=SECONDS_MAX, allow_inf_nan=False)]
Minutes = Annotated[int, Field(strict=True, ge=0, le=24 * 60)]
Scalar = Annotated[str | int | bool, PlainValidator(_scalar)]
ModesMax = Annotated[dict[ClauseId, Mode], BeforeValidator(_modes)]


class ScheduledRunbook(Strict):
    """`[[appointments]]`: a runbook that is expected in every window. With a known name it replaces that one."""

    name: Name
    runbook: Name
    clause: ClauseId
    weekdays: Annotated[tuple[Weekday, ...], Field(min_length=1)]
    begin: TimeOfDay
    end: TimeOfDay
    zone: Zone
    last_start_before_end_min: Minutes = 20
    hard_stop_before_end_min: Minutes = 5
    parameters: dict[str, Scalar] = {}
    only_at_low_traffic: StrictBool = False

    @model_validator(mode="after")
    def _can_be_started(self) -> Self:
        if UPDATE_DATABASE in (self.name, self.runbook):
            raise PydanticCustomError(
                "bounded", f"a runbook other than {UPDATE_DATABASE}: its window is `limits.database` (PMT-2.1)"
            )
        length = (self.end.hour * 60 + self.end.minute) - (self.begin.hour * 60 + self.begin.minute)
        length_min = length if length > 0 else length + 24 * 60
        if not self.hard_stop_before_end_min <= self.last_start_before_end_min < length_min:
            raise PydanticCustomError(
                "last_start",
                "hard_stop_before_end_min <= last_start_before_end_min < {length_min} (the window's minutes)",
                {"length_min": length_min},
            )
        return self


class ChangeFreeze(Strict):
    """`[[freezes]]`: nothing is changed from `begin` to `end`; a bare date means the whole day."""

    begin: Moment
    """Without an offset: in the site's time zone."""
    end: LastMoment
    reason: Text
    runbooks: tuple[Name, ...] = ()
    clauses: tuple[ClauseId, ...] = ()
    """With no runbook and no clause named it is for everything. A section stands for all of its clauses."""

    @model_validator(mode="after")
    def _has_a_length(self) -> Self:
        if (self.begin.tzinfo is None) != (self.end.tzinfo is None):
            raise PydanticCustomError("offsets", "both times with an offset, or both without")
        if self.end <= self.begin:
            raise PydanticCustomError(
                "order", "an end after {begin}, found {end}", {"begin": str(self.begin), "end": str(self.end)}
            )
        return self


class ChangeCalendar(Strict):
    """`[change_calendar]`: an iCalendar file whose events are freezes."""

    file: Text
    host: Text = "local"


class GateKind(StrEnum):
    """What a gate asks."""

    EXEC = "exec"
    HTTP = "http"
    TICKET = "ticket"
    APPROVAL = "approval"


_OWN_FIELDS: Mapping[GateKind, frozenset[str]] = {
    GateKind.EXEC: frozenset({"argv", "host", "deadline_s", "attempts"}),
    GateKind.HTTP: frozenset({"url", "method", "status", "secret_headers", "deadline_s", "attempts"}),
    GateKind.TICKET: frozenset({"pattern", "timeout_s", "people"}),
    GateKind.APPROVAL: frozenset({"timeout_s", "people"}),
}
_REQUIRED = {GateKind.EXEC: "argv", GateKind.HTTP: "url"}
_OF_EVERY_KIND = frozenset({"name", "runbook", "before", "after", "kind"})


class Gate(Strict):
    """`[[gates]]`: one more condition before or after a named step of a runbook."""

    name: Name
    runbook: Name
    before: Text | None = None
    after: Text | None = None
    kind: GateKind
    argv: tuple[Text, ...] = ()
    """exec: passes with exit code 0. No secret belongs here: everybody on the host can read it."""
    host: Text = "local"
    url: Url | None = None
    method: Annotated[str, Field(pattern="^(GET|POST)$")] = "GET"
    status: Annotated[int, Field(strict=True, ge=100, le=599)] = 200
    """http: passes with this status only. Redirects are not followed."""
    secret_headers: dict[str, Name] = {}
    """http: header name to the NAME of a secret."""
    deadline_s: Seconds = 30
    attempts: Annotated[int, Field(strict=True, ge=1, le=10)] = 1
    pattern: Annotated[str, AfterValidator(_expression)] = ""
    """ticket: what the whole ticket id has to match."""
    timeout_s: Seconds = 1800
    people: Annotated[int, Field(strict=True, ge=1, le=2)] = 1

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Self:
        if (self.before is None) == (self.after is None):
            raise PydanticCustomError("place", "either `before` or `after` with the name of a step")
        allowed = _OF_EVERY_KIND | _OWN_FIELDS[self.kind]
        fields = type(self).model_fields
        foreign = sorted(n for n, f in fields.items() if n not in allowed and getattr(self, n) != f.default)
        if foreign:
            raise PydanticCustomError(
                "foreign",
                "no `{foreign}` in a gate of kind {kind}, only {own}",
                {"foreign": foreign[0], "kind": str(self.kind), "own": ", ".join(sorted(_OWN_FIELDS[self.kind]))},
            )
        required = _REQUIRED.get(self.kind)
        if required is not None and not getattr(self, required):
            raise PydanticCustomError(
                "required", "`{required}` in a gate of kind {kind}", {"required": required, "kind": str(self.kind)}
            )
        return self
