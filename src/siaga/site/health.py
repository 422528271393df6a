"""What a site says about preventive health (PMT): from where on something wants to be done, and where to look."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Annotated, Self

from pydantic import Field, PlainSerializer, PlainValidator, model_validator
from pydantic_core import PydanticCustomError

from siaga.site.fields import Address, Name, Strict, Text, Url

COUNTING_DOWN = frozenset({"certificate_days", "support_days"})
"""Limits of days that are left: they bite from above. All others bite from below."""


def _figure(value: object) -> int | float:
    # A plain validator, as in sop/limits.py: whole numbers stay whole, and each mistake is named once.
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
        raise PydanticCustomError("figure", "a number, 0 or above")
    return value


Figure = Annotated[int | float, PlainValidator(_figure), PlainSerializer(lambda value: value, return_type=int | float)]


class Limit(Strict):
    """From which value on somebody should act, and from which on it may not wait."""

    soon: Figure
    now: Figure


class HealthLimits(Strict):
    """One limit a kind of reading, in the unit that its name ends with; without one it is a count."""

    disk_space_used_percent: Limit = Limit(soon=80, now=92)
    disk_inodes_used_percent: Limit = Limit(soon=80, now=92)
    fsync_p99_ms: Limit = Limit(soon=50, now=500)
    write_errors: Limit = Limit(soon=1, now=1)
    filesystem_errors: Limit = Limit(soon=1, now=1)
    kernel_errors: Limit = Limit(soon=1, now=10)
    """Lines about failing hardware or filesystems in the kernel's log of the last 7 days."""
    checksum_failures: Limit = Limit(soon=1, now=1)
    scrub_failures: Limit = Limit(soon=1, now=1)
    certificate_days: Limit = Limit(soon=30, now=7)
    clock_offset_ms: Limit = Limit(soon=50, now=500)
    """From the time that the world goes by."""
    clock_spread_ms: Limit = Limit(soon=50, now=500)
    """Between the controller and a server."""
    package_age_days: Limit = Limit(soon=180, now=540)
    support_days: Limit = Limit(soon=180, now=0)
    """Until nobody mends the product any more."""
    slot_wal_percent: Limit = Limit(soon=50, now=80)
    """Of `max_slot_wal_keep_size`."""
    connections_percent: Limit = Limit(soon=70, now=90)
    pooler_clients_percent: Limit = Limit(soon=70, now=90)
    session_clients_percent: Limit = Limit(soon=70, now=90)
    session_memory_percent: Limit = Limit(soon=75, now=90)
    file_descriptors_percent: Limit = Limit(soon=70, now=90)
    days_left: Limit = Limit(soon=14, now=2)
    """Until the trend of a reading reaches its own `now`."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        wrong = list(self._out_of_order())
        if wrong:
            raise PydanticCustomError("order", "{wrong}", {"wrong": "; ".join(wrong)})
        return self

    def _out_of_order(self) -> Iterator[str]:
        for name in type(self).model_fields:
            limit: Limit = getattr(self, name)
            falling = name in COUNTING_DOWN or name == "days_left"
            if (limit.soon < limit.now) if falling else (limit.soon > limit.now):
                yield f"{name} with `soon` at {'or above' if falling else 'or below'} `now`"


class EndOfLife(Strict):
    """`[[health.end_of_life]]`: until when a version is mended, where the built-in table does not know it."""

    product: Name
    cycle: Text
    """`9.1`: the version or its beginning."""
    until: date
    source: Url


class HealthSettings(Strict):
    """`[health]`: limits and places. Nothing here is needed to begin with."""

    limits: HealthLimits = HealthLimits()
    tls_endpoints: tuple[Address, ...] = ()
    """Listeners whose certificates are read."""
    postgres_tls_endpoints: tuple[Address, ...] = ()
    """The same, where TLS begins inside PostgreSQL's protocol."""
    certificate_files: tuple[Text, ...] = ()
    time_servers: tuple[Text, ...] = ()
    """SNTP servers, asked where chrony does not run on the host."""
    scrub_mb_per_s_max: Annotated[int, Field(strict=True, ge=1, le=1024)] = 32
    scrub_hours_max: Annotated[int, Field(strict=True, ge=1, le=48)] = 3
    """A database server. All of them, one after another, have to fit into the weekly window."""
    end_of_life: tuple[EndOfLife, ...] = ()
