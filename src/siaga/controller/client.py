"""Talks to the controller over its Unix socket, as the user who asks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx2

from siaga.errors import BadInput, Exit, Refused, SiagaError, Unreachable

_KINDS: dict[int, type[SiagaError]] = {Exit.USAGE: BadInput, Exit.REFUSED: Refused, Exit.UNREACHABLE: Unreachable}


class ControllerClient:
    """One request at a time; what the controller refuses is raised as it was worded there."""

    def __init__(self, socket: Path, deadline_s: float = 10.0) -> None:
        self._socket = socket
        self._deadline_s = deadline_s

    async def get(self, path: str) -> Any:
        """The JSON document at `path`."""
        return await self._ask("GET", path)

    async def post(self, path: str, content: object = None) -> Any:
        """Ask for an act; the answer says what came of it."""
        return await self._ask("POST", path, content)

    async def _ask(self, method: str, path: str, content: object = None) -> Any:
        transport = httpx2.AsyncHTTPTransport(uds=str(self._socket))
        try:
            async with httpx2.AsyncClient(
                transport=transport, base_url="http://controller", timeout=self._deadline_s
            ) as client:
                answer = await client.request(method, path, json=content)
        except httpx2.HTTPError as error:
            raise Unreachable(
                f"the controller does not answer ({type(error).__name__})",
                hint="`siaga status` shows whether it runs; `siaga up` starts it again. Users are served without it.",
            ) from error
        if answer.status_code >= 400:
            raise _complaint(answer)
        return answer.json()


def _complaint(answer: httpx2.Response) -> SiagaError:
    try:
        said = answer.json()
        return _KINDS.get(said["exit_code"], SiagaError)(said["message"], hint=said["hint"])
    except (ValueError, KeyError, TypeError):
        return SiagaError(f"the controller answered {answer.status_code}", hint="See its log with `siaga status`.")
