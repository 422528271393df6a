"""Everybody else: mail, chat, SMS, webhooks, through `apprise`."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

from siaga.errors import SiagaError
from siaga.incidents.model import Level
from siaga.incidents.notify.message import Event, Message
from siaga.incidents.notify.routes import Outcome, Verdict, severity
from siaga.incidents.notify.secrets import Secret
from siaga.site.notifications import RouteKind

DEADLINE_S = 10.0
THREADS = 4
_LOW = frozenset({"low", "lowest", "min", "minimum", "verylow", "very_low", "quiet", "-1", "-2", "l", "m", "v"})

if TYPE_CHECKING:
    import apprise

# It logs addresses, masked, for every attempt; the journal of deliveries says what came of them.
logging.getLogger("apprise").addHandler(logging.NullHandler())
logging.getLogger("apprise").propagate = False


class AppriseSender:
    """Sends to whatever one apprise URL names."""

    def __init__(self, secret_name: str, secret: Secret) -> None:
        """`secret_name` holds the URL; it is read at the moment of use, so that it can be changed."""
        self._secret_name = secret_name
        self._secret = secret
        # Its own: a route that hangs may not take the threads of everybody else.
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="apprise")
        # Two hundred plugins take half a second to load, and many on a busy machine: not when somebody waits.
        self._threads.submit(_service)

    async def send(self, message: Message) -> Outcome:
        """One attempt, its end within the deadline whatever the other side does."""
        try:
            async with asyncio.timeout(DEADLINE_S):
                url = await self._secret(self._secret_name)
                return await asyncio.get_running_loop().run_in_executor(self._threads, deliver, url, message)
        except SiagaError as error:
            return Outcome(Verdict.REFUSED, error.message)
        except TimeoutError:
            return Outcome(Verdict.FAILED, f"no answer within {DEADLINE_S:g} s")
        except (OSError, ValueError) as error:
            return Outcome(Verdict.FAILED, f"not sent ({type(error).__name__})")


def deliver(url: str, message: Message) -> Outcome:
    """Send in this thread."""
    if message.level is Level.CRITICAL and is_low_urgency(url):
        return Outcome(Verdict.REFUSED, "its URL asks for a low priority, and Level 3 is never low urgency")
    service = _service()
    if not service.add(url):
        return Outcome(Verdict.REFUSED, "its secret holds no URL that apprise knows")
    kind = "success" if message.event is Event.RESOLVED else severity(RouteKind.APPRISE, message.level)
    if service.notify(title=message.title, body=message.text, notify_type=kind, body_format="text"):
        return Outcome(Verdict.ACCEPTED)
    return Outcome(Verdict.FAILED, "apprise could not hand it over")


def _service() -> apprise.Apprise:
    """With all of its plugins; imported here, for a controller without such a route needs none of it."""
    import apprise

    service = apprise.Apprise(asset=apprise.AppriseAsset(app_id="Siaga", app_desc="Siaga", service_timeout=DEADLINE_S))
    # Whatever is added first has it load every plugin.
    service.add("json://127.0.0.1")
    service.clear()
    return service


def is_low_urgency(url: str) -> bool:
    """Whether an apprise URL turns everything it sends into what wakes nobody."""
    try:
        options = parse_qsl(urlsplit(url).query)
    except ValueError:
        return False
    return any(name.lower() in ("priority", "urgency") and value.lower() in _LOW for name, value in options)
