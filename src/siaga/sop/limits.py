"""The SOP's numbers as typed limits: a site may tighten each one, never loosen it.

Every field carries its clause and bound, so that the refusal, `siaga sop`, the pages under docs/sop
and the traceability test all speak from one place. Whole numbers stay whole; NaN never gets in.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import time
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    PlainSerializer,
    PlainValidator,
    StrictStr,
    model_validator,
)
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from siaga.sop.clauses import ClauseId


class Direction(StrEnum):
    """On which side of its bound a limit must stay."""

    AT_MOST = "at most"
    AT_LEAST = "at least"
    ONLY = "only"


@dataclass(frozen=True, slots=True)
class Bounded:
    """Marks a field with its clause and the loosest value that the clause allows."""

    clause: ClauseId
    direction: Direction
    bound: Any

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Check the bound after the field's own type."""
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def _check(self, value: Any) -> Any:
        if not self.allows(value):
            raise PydanticCustomError(
                "looser",
                "looser than {clause} allows, {direction} {bound}",
                {"clause": str(self.clause), "direction": str(self.direction), "bound": shown(self.bound)},
            )
        return value

    def allows(self, value: Any) -> bool:
        """Whether `value` is as strict as the clause, or stricter."""
        if self.direction is Direction.AT_MOST:
            return bool(value <= self.bound)
        if self.direction is Direction.AT_LEAST:
            return bool(value >= self.bound)
        return bool(value == self.bound)


def shown(value: object) -> str:
    """A limit in the words of a site file: 03:00 for a time of day, no `.0` behind whole numbers."""
    if isinstance(value, time):
        return value.isoformat(timespec="auto" if value.second or value.microsecond else "minutes")
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _time_of_day(value: object) -> object:
    # Pydantic alone would read the number 3 as three seconds past midnight.
    if isinstance(value, str):
        try:
            value = time.fromisoformat(value)
        except ValueError:
            value = None
    if not isinstance(value, time) or value.tzinfo is not None:
        raise PydanticCustomError("time_of_day", 'a time of day in quotes, such as "03:15"')
    return value


def _number(value: object) -> int | float:
    # A plain validator: a union of int and float would report each mistake twice, `float` alone turns 10 into 10.0.
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise PydanticCustomError("number", "a number above 0")
    return value


Whole = Annotated[int, Field(strict=True, ge=1)]
Number = Annotated[int | float, PlainValidator(_number), PlainSerializer(lambda value: value, return_type=int | float)]
TimeOfDay = Annotated[time, BeforeValidator(_time_of_day), PlainSerializer(shown, return_type=str)]


class _Group(BaseModel):
    """Frozen, and unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class UptimeLimits(_Group):
    """ZDT-1: the month."""

    uptime_percent_min: Annotated[Number, Field(le=100), Bounded(ClauseId.ZDT_1, Direction.AT_LEAST, 99.99)] = 99.99
    downtime_s_max: Annotated[Number, Bounded(ClauseId.ZDT_1, Direction.AT_MOST, 262.8)] = 262.8
    """4.38 minutes, cumulative over the month."""


class TrafficLimits(_Group):
    """ZDT-1.1a: when a node counts as failed, and how soon its users are elsewhere."""

    latency_ms_max: Annotated[Whole, Bounded(ClauseId.ZDT_1_1A, Direction.AT_MOST, 500)] = 500
    divert_s_max: Annotated[Number, Bounded(ClauseId.ZDT_1_1A, Direction.AT_MOST, 10)] = 10


class SessionsLimits(_Group):
    """ZDT-1.1b: what a database failure may cost in sessions."""

    sessions_lost_max: Annotated[int, Field(strict=True, ge=0), Bounded(ClauseId.ZDT_1_1B, Direction.AT_MOST, 0)] = 0


class DatabaseLimits(_Group):
    """PMT-2.1: the weekly window of database updates, in WIB whatever the site's time zone."""

    window_weekday: Annotated[StrictStr, Bounded(ClauseId.PMT_2_1, Direction.ONLY, "Wednesday")] = "Wednesday"
    window_begin: Annotated[TimeOfDay, Bounded(ClauseId.PMT_2_1, Direction.AT_LEAST, time(3))] = time(3)
    window_end: Annotated[TimeOfDay, Bounded(ClauseId.PMT_2_1, Direction.AT_MOST, time(4))] = time(4)

    @model_validator(mode="after")
    def _window_is_open(self) -> Self:
        if self.window_begin >= self.window_end:
            raise PydanticCustomError(
                "window_closed",
                "window_begin {begin} is not before window_end {end}",
                {"begin": shown(self.window_begin), "end": shown(self.window_end)},
            )
        return self


class VendorsLimits(_Group):
    """PMT-2.2: the audit of every vendor's API. The average must stay below the figure, not reach it."""

    response_ms_max: Annotated[Whole, Bounded(ClauseId.PMT_2_2, Direction.AT_MOST, 150)] = 150
    audit_interval_days_max: Annotated[Whole, Bounded(ClauseId.PMT_2_2, Direction.AT_MOST, 7)] = 7


class SnapshotsLimits(_Group):
    """DRP-3.2a: how old the newest snapshot of the transaction databases may get."""

    interval_min_max: Annotated[Whole, Bounded(ClauseId.DRP_3_2A, Direction.AT_MOST, 15)] = 15


class RecoveryLimits(_Group):
    """DRP-3.1: minutes from the onset of the failure until each store is back."""

    rto_transactions_min_max: Annotated[Whole, Bounded(ClauseId.DRP_3_1, Direction.AT_MOST, 30)] = 30
    rto_sessions_min_max: Annotated[Whole, Bounded(ClauseId.DRP_3_1, Direction.AT_MOST, 60)] = 60
    rto_history_min_max: Annotated[Whole, Bounded(ClauseId.DRP_3_1, Direction.AT_MOST, 120)] = 120


class LedgerLimits(_Group):
    """DRP-3.2b: the share of accounts cross-checked before service is announced as normal."""

    checked_percent_min: Annotated[Number, Field(le=100), Bounded(ClauseId.DRP_3_2B, Direction.AT_LEAST, 100)] = 100


class Limits(_Group):
    """Every number of the SOP, at its bound unless the site is stricter."""

    uptime: UptimeLimits = UptimeLimits()
    traffic: TrafficLimits = TrafficLimits()
    sessions: SessionsLimits = SessionsLimits()
    database: DatabaseLimits = DatabaseLimits()
    vendors: VendorsLimits = VendorsLimits()
    snapshots: SnapshotsLimits = SnapshotsLimits()
    recovery: RecoveryLimits = RecoveryLimits()
    ledger: LedgerLimits = LedgerLimits()


@dataclass(frozen=True, slots=True)
class Bound:
    """One limit in force, beside the loosest value its clause allows."""

    field_path: str
    clause: ClauseId
    value: object
    bound: object
    direction: Direction

    @property
    def tightened(self) -> bool:
        """Whether this site is stricter than the clause."""
        return self.value != self.bound

    def __str__(self) -> str:
        return f"{self.field_path} = {shown(self.value)}: {self.clause} allows {self.direction} {shown(self.bound)}"


def bounds(limits: Limits | None = None) -> Iterable[Bound]:
    """Every limit of `limits` (default: the SOP's own) with its clause and bound, in the order of the SOP."""
    limits = limits or Limits()
    for group_name in Limits.model_fields:
        group: BaseModel = getattr(limits, group_name)
        for name, field in type(group).model_fields.items():
            for mark in field.metadata:
                if isinstance(mark, Bounded):
                    path = f"limits.{group_name}.{name}"
                    yield Bound(path, mark.clause, getattr(group, name), mark.bound, mark.direction)
