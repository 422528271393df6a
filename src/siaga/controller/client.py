"""Talks to the controller that leads, over its Unix socket, as the user who asks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx2

from siaga.errors import BadInput, Exit, Refused, SiagaError, Unreachable

_KINDS: dict[int, type[SiagaError]] = {Exit.USAGE: BadInput, Exit.REFUSED: Refused, Exit.UNREACHABLE: Unreachable}


class _NotThisOne(Exception):
    """Nothing was done here; another controller may."""

    def __init__(self, complaint: SiagaError, *, stands_by: bool) -> None:
        super().__init__(complaint.message)
        self.complaint = complaint
        self.stands_by = stands_by


class ControllerClient:
    """One request at a time; what the controller refuses is raised as it was worded there."""

    def __init__(self, sockets: Sequence[Path], deadline_s: float = 10.0) -> None:
        """`sockets` of every controller of the platform; the leader is found among them."""
        self._sockets = sockets
        self._deadline_s = deadline_s

    async def get(self, path: str) -> Any:
        """The JSON document at `path`."""
        return await self._ask("GET", path)

    async def post(self, path: str, content: object = None) -> Any:
        """Ask for an act; the answer says what came of it."""
        return await self._ask("POST", path, content)

    async def _ask(self, method: str, path: str, content: object = None) -> Any:
        refusals: list[_NotThisOne] = []
        for socket in self._sockets:
            try:
                return await self._ask_one(socket, method, path, content)
            except _NotThisOne as refusal:
                refusals.append(refusal)
        # A standby knows why nobody leads; a dead controller only that it is dead.
        raise min(refusals, key=lambda refusal: not refusal.stands_by).complaint

    async def _ask_one(self, socket: Path, method: str, path: str, content: object) -> Any:
        transport = httpx2.AsyncHTTPTransport(uds=str(socket))
        try:
            async with httpx2.AsyncClient(
                transport=transport, base_url="http://controller", timeout=self._deadline_s
            ) as client:
                answer = await client.request(method, path, json=content)
        except httpx2.ConnectError as error:
            raise _NotThisOne(_unreachable(error), stands_by=False) from error
        except httpx2.HTTPError as error:
            if method == "GET":
                raise _NotThisOne(_unreachable(error), stands_by=False) from error
            # It may have been done: asking another would do it twice.
            raise _unreachable(error) from error
        if answer.status_code >= 400:
            complaint, stands_by = _complaint(answer)
            raise _NotThisOne(complaint, stands_by=True) if stands_by else complaint
        return answer.json()


def _unreachable(error: httpx2.HTTPError) -> Unreachable:
    return Unreachable(
        f"the controller does not answer ({type(error).__name__})",
        hint="`siaga status` shows whether it runs; `siaga up` starts it again. Users are served without it.",
    )


def _complaint(answer: httpx2.Response) -> tuple[SiagaError, bool]:
    """What it said, and whether it only stands by."""
    try:
        said = answer.json()
        complaint = _KINDS.get(said["exit_code"], SiagaError)(said["message"], hint=said["hint"])
        return complaint, bool(said.get("stands_by"))
    except (ValueError, KeyError, TypeError):
        return SiagaError(
            f"the controller answered {answer.status_code}", hint="See its log with `siaga status`."
        ), False
