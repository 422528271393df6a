"""Asks a URL on behalf of a gate: one request, no redirect, no body read, one deadline for all of it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import httpx2

from siaga.errors import Unreachable


class HttpCaller:
    """One connection a question: gates are asked a few times a week."""

    async def status(self, method: str, url: str, *, headers: Mapping[str, str], deadline_s: float) -> int:
        """The status of the answer; Unreachable when there is none in time. Headers appear in no message."""
        try:
            async with (
                asyncio.timeout(deadline_s),
                httpx2.AsyncClient(follow_redirects=False, timeout=None, trust_env=False) as client,
                client.stream(method, url, headers=dict(headers)) as answer,
            ):
                return answer.status_code
        except TimeoutError:
            why = f"no answer within {deadline_s:g} s"
        except (httpx2.HTTPError, httpx2.InvalidURL, ValueError, OSError) as error:
            # Only the kind: a message may quote a header.
            why = f"no answer ({type(error).__name__})"
        raise Unreachable(why, hint="Look whether the address is right, and whether it is up.") from None
