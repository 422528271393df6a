"""Which technology each route of the site uses."""

from __future__ import annotations

from collections.abc import Sequence

from siaga.incidents.notify.apprise_route import AppriseSender
from siaga.incidents.notify.pagerduty import PagerDutySender
from siaga.incidents.notify.secrets import Secret, named
from siaga.incidents.notify.telling import Sender
from siaga.site.notifications import NotificationRoute, RouteKind


def senders(routes: Sequence[NotificationRoute], secret: Secret, site: str) -> dict[str, Sender]:
    """One a route, by its name; `secret` gives a secret's value by its name."""
    return {route.name: _sender(route, named(secret), site) for route in routes}


def _sender(route: NotificationRoute, secret: Secret, site: str) -> Sender:
    if route.kind is RouteKind.PAGERDUTY:
        return PagerDutySender(route.secret, secret, url=route.url or "", source=site)
    return AppriseSender(route.secret, secret)
