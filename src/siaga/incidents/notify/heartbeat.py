"""The dead-man's switch outside: it raises the alarm when it hears nothing from here, whatever the reason."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Any

import httpx2

from siaga.errors import SiagaError
from siaga.incidents.notify.secrets import Secret, named

INTERVAL_S = 60.0
DEADLINE_S = 10.0


class HeartbeatSender:
    """Says "alive" while all is well here; silence is the message."""

    def __init__(self, secret_name: str, secret: Secret, trouble: Callable[[], str]) -> None:
        """`trouble` says why this controller should not be taken for healthy; empty when it should."""
        self._secret_name = secret_name
        self._secret = named(secret)
        self._trouble = trouble
        self._heard_at: datetime | None = None
        self._why = "not sent yet"

    async def run_pass(self, now: datetime) -> None:
        """Send once. What fails is told by `describe`; the next pass tries again."""
        self._why = self._trouble() or await self._send()
        if not self._why:
            self._heard_at = now

    async def _send(self) -> str:
        try:
            async with asyncio.timeout(DEADLINE_S):
                url = await self._secret(self._secret_name)
                async with httpx2.AsyncClient(follow_redirects=False, timeout=None) as client:
                    answer = await client.get(url)
        except SiagaError as error:
            return error.message
        except TimeoutError:
            return f"no answer within {DEADLINE_S:g} s"
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as error:
            # Only the kind: the address is the secret.
            return f"no answer ({type(error).__name__})"
        return "" if 200 <= answer.status_code < 300 else f"answered with status {answer.status_code}"

    def describe(self) -> dict[str, Any]:
        """When it was last heard, and why not since."""
        return {"heard_at": self._heard_at.isoformat() if self._heard_at else None, "why": self._why}
