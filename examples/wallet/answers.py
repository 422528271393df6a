"""What the wallet says over HTTP: JSON answers, cookies, and the outage answer of decision 23.

The exception handlers are coroutines: Starlette runs plain functions in a thread, and the first outage would then load
the thread machinery (a standstill of 0.2 s, measured) in the middle of everything.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from wallet.errors import BadRequest, Outage, Part


def answer(content: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON answer."""
    body = json.dumps(content, separators=(",", ":")).encode()
    return Response(body, status, headers=headers, media_type="application/json")


def set_cookie(response: Response, name: str, value: str, age_s_max: int) -> None:
    """Secure, HttpOnly, SameSite=Lax, for the whole site; age 0 removes it."""
    cookie = f"{name}={value}; Path=/; Max-Age={age_s_max}; Secure; HttpOnly; SameSite=Lax"
    response.raw_headers.append((b"set-cookie", cookie.encode("latin-1")))


def outage_headers(part: Part) -> dict[str, str]:
    """Tell the user to come back, and the edge that neither a retry nor an ejection would help (decision 23)."""
    return {"retry-after": "1", "x-envoy-ratelimited": "true", "x-siaga-outage": part}


async def on_outage(request: Request, error: Exception) -> Response:
    """Exception handler for `Outage`."""
    assert isinstance(error, Outage)
    content = {"error": f"{error.part} outage", "outage": error.part, "hint": "repeat the request in a second"}
    if "idempotency-key" in request.headers:
        # The key finds out, and never executes twice.
        content["hint"] = "the outcome is unknown: repeat the request in a second with the same Idempotency-Key"
    return answer(content, 503, outage_headers(error.part))


async def on_bad_request(request: Request, error: Exception) -> Response:
    """Exception handler for `BadRequest`."""
    assert isinstance(error, BadRequest)
    content = {"error": str(error), "field": error.field, "found": error.found, "expected": error.expected}
    return answer(content, error.status)


async def on_being_verified(request: Request, error: Exception) -> Response:
    """Exception handler for `BeingVerified`: never stored under the key, which works once the account is open."""
    content = {
        "state": "closed",
        "reason": "being_verified",
        "error": "an account of this movement is being verified",
        "hint": "nothing was done: repeat the request later with the same Idempotency-Key",
    }
    return answer(content, 423, {"retry-after": "30"})


async def on_not_logged_in(request: Request, error: Exception) -> Response:
    """Exception handler for `NotLoggedIn`."""
    return answer({"error": "not logged in", "hint": "POST /login"}, 401)


async def on_http_error(request: Request, error: Exception) -> Response:
    """Exception handler for Starlette's own refusals (404, 405)."""
    status = getattr(error, "status_code", 500)
    return answer({"error": getattr(error, "detail", "error").lower()}, status, getattr(error, "headers", None))


async def on_bug(request: Request, error: Exception) -> Response:
    """Exception handler for everything nobody expected; the server logs the traceback."""
    # Starlette answers this one outside of every middleware, so the node is named here.
    return answer({"error": "internal error"}, 500, {"x-served-by": request.app.state.node})


class ServedBy:
    """Names the node on every answer, and keeps answers out of shared caches."""

    def __init__(self, app: ASGIApp, node: str) -> None:
        self._app = app
        self._headers = [(b"x-served-by", node.encode()), (b"cache-control", b"no-store")]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_named(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *self._headers]
            await send(message)

        await self._app(scope, receive, send_named)
