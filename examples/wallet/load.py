"""Users for drills: an open-loop load that records every answer, and every acknowledged write for the proof of loss.

Open loop: requests leave on schedule whether or not earlier ones were answered, and latency counts from the scheduled
moment, so a stall shows in full (no coordinated omission). `python -m wallet.load --help` runs it from a shell.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, TextIO

import aiohttp

MIX = MappingProxyType(
    {
        "balance": 0.54,
        "statement": 0.10,
        "session": 0.10,
        "transfer": 0.12,
        "deposit": 0.08,
        "withdraw": 0.05,
        "login": 0.01,
    }
)
KEYED = frozenset({"transfer", "deposit", "withdraw"})
ACTIONS = KEYED | {"balance", "statement", "session", "login"}
OPENING_FUNDS = 1_000_000
AMOUNT_MAX = 500
WARM_CONNECTIONS = 24
PREPARE_AT_ONCE = 8
PREPARE_TRIES = 20


@dataclass(frozen=True)
class LoadPlan:
    """Who sends what, how often, and where."""

    front_doors: Mapping[str, str]
    """Base URL of each region's front door."""
    rate_per_s: float
    users_per_region: int
    seed: int
    timeout_s: float = 5.0
    mix: Mapping[str, float] = field(default_factory=lambda: MIX)

    def __post_init__(self) -> None:
        """Refuse a plan that cannot be run."""
        unknown = set(self.mix) - ACTIONS
        if unknown or not self.mix:
            raise ValueError(f"mix: found {sorted(unknown)}, expected some of {sorted(ACTIONS)}")
        if self.rate_per_s <= 0 or self.users_per_region < 2 or not self.front_doors:
            raise ValueError("expected a rate above 0, at least 2 users a region and at least 1 front door")


@dataclass(frozen=True, slots=True)
class Outcome:
    """One request as its user saw it."""

    sent_s: float
    """The scheduled moment, on `time.monotonic`."""
    latency_ms: float
    region: str
    action: str
    request_class: str
    """safe, keyed, or raw."""
    status: int
    """0 for no HTTP answer."""
    error: str
    """Empty when the user got what is right, a refusal for lack of money included."""
    served_by: str
    nodes_attempted: tuple[str, ...]
    doors_attempted: tuple[str, ...]
    outage: str
    key: str
    stale: bool


@dataclass(slots=True)
class _User:
    region: str
    name: str
    account: int = 0
    session: str = ""
    claim: str = ""

    def cookie(self) -> str:
        return f"session={self.session}; claim={self.claim}" if self.claim else f"session={self.session}"


class Load:
    """Registers users, then sends the plan's mix; `outcomes` grows while it runs."""

    def __init__(self, plan: LoadPlan, acknowledgements_path: Path) -> None:
        self.plan = plan
        self.acknowledgements_path = acknowledgements_path
        self.outcomes: list[Outcome] = []
        self.unacknowledged: list[str] = []
        """Keys of writes that got no answer: they may or may not be in the ledger, once at most."""
        self.sessions: list[str] = []
        """Every session token that was acknowledged."""
        self._random = random.Random(plan.seed)  # noqa: S311 (a repeatable load, not a secret)
        self._run = f"{plan.seed:x}-{time.time_ns():x}"
        self._numbers = itertools.count(1)
        self._users: dict[str, list[_User]] = {}
        self._http: aiohttp.ClientSession | None = None
        self._acknowledgements: TextIO | None = None
        self._pending: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Load:
        """Use as a context to have it closed."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close."""
        await self.close()

    async def close(self) -> None:
        """Close connections and the acknowledgements file."""
        for task in self._pending:
            task.cancel()
        await asyncio.gather(*self._pending, return_exceptions=True)
        if self._http is not None:
            await self._http.close()
        if self._acknowledgements is not None:
            self._acknowledgements.close()

    def _open(self) -> None:
        self._acknowledgements = self.acknowledgements_path.open("a", encoding="utf-8", buffering=1)
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=60),
            timeout=aiohttp.ClientTimeout(total=self.plan.timeout_s),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
        )

    async def prepare(self) -> None:
        """Register every region's users and give them money; raises when the platform does not let them in."""
        self._open()
        gate = asyncio.Semaphore(PREPARE_AT_ONCE)
        for region in self.plan.front_doors:
            names = [f"load-{self._run}-{region}-{number}" for number in range(self.plan.users_per_region)]
            self._users[region] = [_User(region, name) for name in names]
        users = [user for region_users in self._users.values() for user in region_users]
        await asyncio.gather(*(self._admit(user, gate) for user in users))

    async def run(self, duration_s: float | None, stop: asyncio.Event | None = None) -> None:
        """Send on schedule until the duration is over or `stop` is set, then wait for the last answers."""
        await asyncio.gather(*(self._warm(door) for door in self.plan.front_doors.values()))
        begin_s = time.monotonic() + 0.05
        for due_s, region, action in self._schedule(begin_s):
            if duration_s is not None and due_s - begin_s >= duration_s:
                break
            early_s = due_s - time.monotonic()
            if early_s > 0:
                await asyncio.sleep(early_s)
            if stop is not None and stop.is_set():
                break
            task = asyncio.create_task(self._act(due_s, region, action))
            self._pending.add(task)
            task.add_done_callback(self._pending.discard)
        while self._pending:
            await asyncio.wait(self._pending)

    async def log_in(self) -> bool:
        """Log some user in once more, as from another device; whether the new session was acknowledged."""
        user = self._random.choice(self._users[self._random.choice(list(self._users))])
        device = _User(user.region, user.name)
        credentials = {"name": user.name, "password": _password(user)}
        status, _content, _headers = await self._exchange(device, "POST", "/login", credentials, "")
        return status == 200

    def _schedule(self, begin_s: float) -> Iterator[tuple[float, str, str]]:
        """Yield endless requests at a constant rate, the regions in turn."""
        regions = itertools.cycle(self.plan.front_doors)
        actions, shares = list(self.plan.mix), list(self.plan.mix.values())
        for number in itertools.count():
            action = self._random.choices(actions, shares)[0]
            yield begin_s + number / self.plan.rate_per_s, next(regions), action

    async def _admit(self, user: _User, gate: asyncio.Semaphore) -> None:
        async with gate:
            credentials = {"name": user.name, "password": _password(user)}
            for attempt in range(PREPARE_TRIES):
                # A lost answer may have registered the name: the log-in finds out.
                path = "/register" if attempt % 2 == 0 else "/login"
                status, content, _headers = await self._exchange(user, "POST", path, credentials, "")
                if status in (200, 201):
                    user.account = int(content["account"])
                    break
                await asyncio.sleep(0.1)
            else:
                raise ConnectionError(f"{user.region}: no user registered in {PREPARE_TRIES} tries, status {status}")
            key = self._key(user.region)
            opening = {"amount": OPENING_FUNDS}
            for _ in range(PREPARE_TRIES):
                status, content, _headers = await self._exchange(user, "POST", "/deposit", opening, key)
                if status == 200:
                    self._acknowledge(user.region, key, status, content)
                    return
                await asyncio.sleep(0.1)
            raise ConnectionError(f"{user.region}: no opening deposit in {PREPARE_TRIES} tries, status {status}")

    async def _warm(self, door: str) -> None:
        assert self._http is not None
        http = self._http

        async def touch() -> None:
            async with http.get(f"{door}/livez") as response:
                await response.read()

        await asyncio.gather(*(touch() for _ in range(WARM_CONNECTIONS)), return_exceptions=True)

    async def _act(self, due_s: float, region: str, action: str) -> None:
        user = self._random.choice(self._users[region])
        key = self._key(region) if action in KEYED else ""
        method, path, body = self._request(user, action)
        status, content, headers = await self._exchange(user, method, path, body, key)
        done_s = time.monotonic()
        if key:
            if status in (200, 409):
                self._acknowledge(region, key, status, content)
            else:
                self.unacknowledged.append(key)
        self.outcomes.append(
            Outcome(
                sent_s=due_s,
                latency_ms=1000 * (done_s - due_s),
                region=region,
                action=action,
                request_class="keyed" if key else "raw" if method == "POST" else "safe",
                status=status,
                error=_error(status, content, headers),
                served_by=headers.get("x-served-by", ""),
                nodes_attempted=_hosts(headers.get("x-siaga-nodes-attempted", "")),
                doors_attempted=_hosts(headers.get("x-siaga-doors-attempted", "")),
                outage=headers.get("x-siaga-outage", ""),
                key=key,
                stale="x-siaga-stale" in headers,
            )
        )

    def _request(self, user: _User, action: str) -> tuple[str, str, Mapping[str, Any] | None]:
        if action == "login":
            return "POST", "/login", {"name": user.name, "password": _password(user)}
        if action not in KEYED:
            return "GET", f"/{action}", None
        amount = self._random.randint(1, AMOUNT_MAX)
        if action != "transfer":
            return "POST", f"/{action}", {"amount": amount}
        others = self._users[self._random.choice(list(self._users))]
        other = self._random.choice([other for other in others[:64] if other is not user])
        return "POST", "/transfer", {"to": other.account, "amount": amount}

    async def _exchange(
        self, user: _User, method: str, path: str, body: Mapping[str, Any] | None, key: str
    ) -> tuple[int, Mapping[str, Any], Mapping[str, str]]:
        """Send once, never again; status 0 and the error's name when there was no HTTP answer."""
        assert self._http is not None
        # Secure cookies over plain http, on purpose: TLS ends at the CDN above the front doors.
        headers = {"cookie": user.cookie()} if user.session else {}
        if key:
            headers["idempotency-key"] = key
        content = None if body is None else json.dumps(body).encode()
        try:
            async with self._http.request(
                method, self.plan.front_doors[user.region] + path, data=content, headers=headers, allow_redirects=False
            ) as response:
                raw = await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return 0, {"error": type(error).__name__}, {}
        for cookie in response.headers.getall("set-cookie", []):
            self._keep(user, cookie)
        needs_content = method == "POST" or response.status >= 400
        return response.status, _json(raw) if needs_content else {}, response.headers

    def _keep(self, user: _User, cookie: str) -> None:
        name, _, rest = cookie.partition("=")
        value = rest.partition(";")[0]
        if name == "claim":
            user.claim = value
        elif name == "session":
            user.session = value
            self.sessions.append(value)

    def _key(self, region: str) -> str:
        return f"{self._run}-{region}-{next(self._numbers)}"

    def _acknowledge(self, region: str, key: str, status: int, content: Mapping[str, Any]) -> None:
        assert self._acknowledgements is not None
        fields = ("kind", "account", "amount", "transfer")
        line = {"key": key, **{name: content.get(name) for name in fields}, "status": status, "region": region}
        self._acknowledgements.write(json.dumps(line | {"time": round(time.time(), 6)}) + "\n")


def _password(user: _User) -> str:
    return f"password of {user.name}"


def _json(raw: bytes) -> Mapping[str, Any]:
    try:
        content = json.loads(raw)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _error(status: int, content: Mapping[str, Any], headers: Mapping[str, str]) -> str:
    if 200 <= status < 400 or (status == 409 and content.get("reason") == "insufficient_funds"):
        return ""
    said = str(content.get("error") or headers.get("x-siaga-outage") or "no JSON")
    return said if status == 0 else f"{status} {said}"


def _hosts(header: str) -> tuple[str, ...]:
    return tuple(host.strip() for host in header.split(",") if host.strip())


if __name__ == "__main__":
    from wallet.load_command import main

    main()
