"""Who asks: the user at the other end of the Unix socket, or the holder of the token (decision 6)."""

from __future__ import annotations

import asyncio
import hmac
import pwd
import socket
import struct
from typing import Any

from fastapi import HTTPException, Request
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_CREDENTIALS = struct.Struct("3i")


class PeerAwareProtocol(HttpToolsProtocol):
    """Notes the user of a Unix-socket peer where uvicorn would note an address."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Ask the kernel who connected."""
        super().connection_made(transport)
        connection: Any = transport.get_extra_info("socket")
        if connection is not None and connection.family == socket.AF_UNIX:
            raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
            _, uid, _ = _CREDENTIALS.unpack(raw)
            self.client = ("unix", uid)


class Door:
    """Lets in users of the Unix socket (its directory is closed to strangers) and holders of the token."""

    def __init__(self, token: str) -> None:
        self._token = token.encode()

    def actor(self, request: Request) -> str:
        """The name for the records; 401 for a stranger."""
        client = request.scope.get("client")
        if client is not None and client[0] == "unix":
            return _user_name(client[1])
        given = request.headers.get("authorization", "").removeprefix("Bearer ").encode()
        if hmac.compare_digest(given, self._token):
            return "token"
        raise HTTPException(401, "a token is needed", headers={"WWW-Authenticate": "Bearer"})


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
