"""What a site says about telling people: routes, the dead-man's switch outside, a regulator's clock.

Addresses and keys of routes are secrets: the site file holds their NAMES only.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from siaga.site.fields import Name, Strict, Text, Url

DAY_S = 24 * 3600


class RouteKind(StrEnum):
    """How a route reaches people."""

    PAGERDUTY = "pagerduty"
    APPRISE = "apprise"


class NotificationRoute(Strict):
    """`[[notifications]]`: who is told, of which levels, and when."""

    name: Name
    kind: RouteKind
    secret: Name
    """NAME of the secret: PagerDuty's routing key, or an apprise URL such as `mailtos://…`, `slack://…`, `json://…`."""
    level_min: Annotated[int, Field(strict=True, ge=1, le=3)] = 2
    """1 Minor, 2 Major, 3 Critical: this and every worse level."""
    after_s: Annotated[int, Field(strict=True, ge=0, le=DAY_S)] = 0
    """An escalation: told when nobody has acknowledged for so long, or at once when every earlier route fails."""
    repeat_s: Annotated[int, Field(strict=True, ge=60, le=DAY_S)] = 900
    """Told again so often while nobody acknowledges."""
    url: Url | None = None
    """pagerduty: another service region's, such as https://events.eu.pagerduty.com/v2/enqueue."""
    webhook_secret: Name | None = None
    """pagerduty: NAME of the secret that signs its webhooks; without it nothing comes back from there."""

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Self:
        for field in ("url", "webhook_secret"):
            if self.kind is not RouteKind.PAGERDUTY and getattr(self, field) is not None:
                raise PydanticCustomError(
                    "foreign", "no `{field}` in a route of kind {kind}", {"field": field, "kind": str(self.kind)}
                )
        return self


class Heartbeat(Strict):
    """`[heartbeat]`: a switch outside that raises the alarm when it hears nothing from here."""

    secret: Name
    """NAME of the secret that holds the URL to GET every minute."""


class Regulator(Strict):
    """`[regulator]`: an authority that wants to be told of bad incidents within a time."""

    name: Text
    hours: Annotated[int, Field(strict=True, ge=1, le=24 * 30)]
    """From the detection."""
    level_min: Annotated[int, Field(strict=True, ge=1, le=3)] = 3
