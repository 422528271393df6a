"""Log-in sessions: in the session cluster only (ZDT-1.1b). No SQL fallback, no stickiness, any node serves.

A session is an opaque 256-bit token in a cookie; the store knows only its SHA-256. An acknowledged session is on a
primary and a replica. While a primary is silent its replica is read, so writes survive a failover too.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from dataclasses import asdict, dataclass

from wallet.cluster_view import Shard
from wallet.errors import Outage
from wallet.valkey_cluster import NoAnswer, ValkeyCluster

CREATE_TRIES = 3
FIND_TRIES = 2
TOKENS_DRAWN_MAX = 64
WAIT_MS_SHARE = 0.75
"""Share of one try's deadline that WAIT may take, so that its answer still arrives within it."""


@dataclass(frozen=True, slots=True)
class Session:
    """Whom a session belongs to."""

    user: int
    account: int
    name: str
    expires_s: int


def digest(token: str) -> str:
    """What the store knows of a token."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


class Sessions:
    """Creates, finds and ends sessions."""

    def __init__(self, cluster: ValkeyCluster, ttl_s: int) -> None:
        self._cluster = cluster
        self.ttl_s = ttl_s

    async def create(self, user: int, account: int, name: str, now_s: float) -> tuple[str, Session]:
        """A new session, on a primary and at least one replica before it is acknowledged; Outage otherwise.

        The token decides the shard, so a shard that is failing over is avoided by drawing another token. A try that
        was not acknowledged leaves at most a key whose token nobody was told.
        """
        session = Session(user, account, name, int(now_s) + self.ttl_s)
        value = json.dumps(asdict(session), separators=(",", ":"))
        wait_ms = int(self._cluster.deadline_s * 1000 * WAIT_MS_SHARE)
        tried: list[str] = []
        for _ in range(CREATE_TRIES):
            drawn = self._draw(tried)
            if drawn is None:
                break
            token, shard = drawn
            tried.append(shard.primary)
            try:
                _, copies = await self._cluster.ask(
                    shard.primary, ("SET", _key(digest(token)), value, "EX", self.ttl_s), ("WAIT", 1, wait_ms)
                )
            except NoAnswer:
                continue
            if copies >= 1:
                return token, session
            # Without a replica an acknowledged session would die with this primary.
            self._cluster.suspect(shard.primary)
        raise Outage("sessions", "no shard of the session cluster stored the session on two servers in time")

    async def find(self, token_digest: str) -> Session | None:
        """The session, or None when the store says there is none; Outage when nobody can tell."""
        key = _key(token_digest)
        shard = self._cluster.shard(key)
        if shard is None:
            raise Outage("sessions", "no server is known for this session")
        servers = [(shard.primary, False), *((replica, True) for replica in shard.replicas)]
        servers.sort(key=lambda server: self._cluster.is_suspect(server[0]))
        for address, replica in servers[:FIND_TRIES]:
            try:
                (value,) = await self._cluster.ask(address, ("GET", key), replica=replica)
            except NoAnswer:
                continue
            if value is not None:
                return Session(**json.loads(value))
            if not replica:
                return None
            # A replica that is being filled answers "nothing" for everybody: its "no" logs nobody out.
        raise Outage("sessions", f"the session's primary {shard.primary} is silent and no replica has it")

    async def end(self, token_digest: str) -> None:
        """Revoke a session for good: gone from the primary and a replica, else Outage (repeat it)."""
        key = _key(token_digest)
        shard = self._cluster.shard(key)
        if shard is None:
            raise Outage("sessions", "no server is known for this session")
        wait_ms = int(self._cluster.deadline_s * 1000 * WAIT_MS_SHARE)
        try:
            _, copies = await self._cluster.ask(shard.primary, ("DEL", key), ("WAIT", 1, wait_ms))
        except NoAnswer as error:
            raise Outage("sessions", f"the log-out is not certain: {error}") from None
        if copies < 1:
            raise Outage("sessions", "the log-out is not certain: no replica confirmed it")

    async def check(self) -> None:
        """Outage unless every shard's primary answers."""
        shards = self._cluster.view.shards
        if not shards:
            raise Outage("sessions", "no server of the session cluster answers")
        for shard in shards:
            try:
                await self._cluster.ask(shard.primary, ("ROLE",))
            except NoAnswer as error:
                raise Outage("sessions", str(error)) from None

    def _draw(self, tried: list[str]) -> tuple[str, Shard] | None:
        last_resort: tuple[str, Shard] | None = None
        for _ in range(TOKENS_DRAWN_MAX):
            token = secrets.token_urlsafe(32)
            shard = self._cluster.shard(_key(digest(token)))
            if shard is None or shard.primary in tried:
                continue
            if not self._cluster.is_suspect(shard.primary):
                return token, shard
            last_resort = (token, shard)
        return last_resort


def _key(token_digest: str) -> str:
    return f"session:{token_digest}"
