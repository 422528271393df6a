"""Synthetic journeys: log in, balance, transfer, through a front door as a user (ZDT-1).

Two test accounts a region send one unit to and fro; their entries are ordinary ones. A journey believes nothing but the
right answer: a redirect, an error inside a 200, a stale balance or half a body have all failed.
"""

from __future__ import annotations

import errno
import json
import secrets
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp

from siaga.uptime.journeys import Account, Attempt, Kind
from siaga.uptime.model import Outcome, Step

STEP_TIMEOUT_MS = 1_500
AMOUNT = 1
FUNDS = 1_000
_BODY_BYTES_MAX = 65_536
_OURS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.EADDRNOTAVAIL})


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    content: Mapping[str, Any]


class _Ended(Exception):
    """The journey is over before its end."""

    def __init__(self, outcome: Outcome, why: str) -> None:
        super().__init__(why)
        self.outcome = outcome


class WalletJourney:
    """Through the front door of a wallet as examples/wallet has it."""

    def __init__(
        self,
        base_url: str,
        accounts: Sequence[Account],
        *,
        provision: bool,
        tls: ssl.SSLContext | None = None,
        step_timeout_ms: int = STEP_TIMEOUT_MS,
    ) -> None:
        """Two accounts; with `provision` they are registered and given money where they don't exist."""
        self._base_url = base_url.rstrip("/")
        self._accounts = tuple(accounts)
        self._provision = provision
        self._tls = tls
        self._timeout = aiohttp.ClientTimeout(total=step_timeout_ms / 1000)
        self._timeout_ms = step_timeout_ms
        self._turn = 0
        self._key = ""
        """Of a transfer whose outcome is not known yet: repeated, it happens once."""
        self._failed_step: Step | None = None
        self._http: aiohttp.ClientSession | None = None

    async def travel(self, kind: Kind) -> Attempt:
        """Go once."""
        step = Step.BALANCE
        try:
            account = self._accounts[self._turn % 2]
            if kind is Kind.FULL or not account.session or self._failed_step is Step.LOG_IN:
                step = Step.LOG_IN
                await self._log_in(account)
                await self._know_other()
            step = Step.BALANCE
            await self._balance(account)
            if kind is not Kind.LIGHT:
                step = Step.TRANSFER
                await self._transfer(account, self._accounts[(self._turn + 1) % 2])
        except _Ended as ended:
            self._failed_step = step if ended.outcome is Outcome.FAILED else self._failed_step
            return Attempt(ended.outcome, step, f"{step}: {ended}")
        self._failed_step = None
        if kind is not Kind.LIGHT:
            self._turn += 1
        return Attempt(Outcome.OK)

    async def close(self) -> None:
        """Close its connections."""
        if self._http is not None:
            await self._http.close()
            self._http = None

    # Steps ------------------------------------------------------------------------------------------------

    async def _log_in(self, account: Account) -> None:
        before = account.cookie if account.session else ""
        credentials = {"name": account.name, "password": account.password}
        answer = await self._ask("POST", "/login", account, credentials)
        if answer.status == 401 and not account.number:
            if not self._provision:
                raise _Ended(Outcome.INCONCLUSIVE, f"the test account {account.name} is not known")
            answer = await self._ask("POST", "/register", account, credentials)
            if answer.status == 409:
                raise _Ended(Outcome.INCONCLUSIVE, f"the test account {account.name} has another password")
        if answer.status not in (200, 201):
            raise _Ended(*_refusal(answer))
        account.number = _whole(answer, "account")
        if answer.status == 201:
            await self._fund(account)
        if before:
            # A new session every ten seconds would fill the session store; what comes of it is not judged.
            await self._ask("POST", "/logout", account, None, cookie=before, keeps_session=True)

    async def _know_other(self) -> None:
        """Whoever gets the money needs a number before the first transfer."""
        for other in self._accounts:
            if not other.number:
                await self._log_in(other)

    async def _balance(self, account: Account) -> None:
        answer = await self._ask("GET", "/balance", account)
        if answer.status == 401:
            # An expired session is no outage; lost ones are watched by ZDT-1.1b.
            await self._log_in(account)
            answer = await self._ask("GET", "/balance", account)
        if answer.status != 200:
            raise _Ended(*_refusal(answer))
        _whole(answer, "balance")
        if _whole(answer, "account") != account.number:
            raise _Ended(Outcome.FAILED, "answered with somebody else's account")
        if answer.content.get("stale") is not False:
            raise _Ended(Outcome.FAILED, "answered with an old balance")

    async def _transfer(self, account: Account, other: Account) -> None:
        self._key = self._key or f"probe-{secrets.token_hex(12)}"
        wanted = {"to": other.number, "amount": AMOUNT}
        answer = await self._ask("POST", "/transfer", account, wanted, key=self._key)
        if answer.status == 409:
            self._key = ""
            await self._fund(account)
            raise _Ended(Outcome.INCONCLUSIVE, f"the test account {account.name} had no money left and got some")
        if answer.status != 200:
            raise _Ended(*_refusal(answer))
        if answer.content.get("state") != "done" or answer.content.get("amount") != AMOUNT:
            raise _Ended(Outcome.FAILED, "answered 200 to a transfer that it did not do")
        self._key = ""

    async def _fund(self, account: Account) -> None:
        answer = await self._ask(
            "POST", "/deposit", account, {"amount": FUNDS}, key=f"probe-funds-{secrets.token_hex(12)}"
        )
        if answer.status != 200:
            raise _Ended(*_refusal(answer))

    # HTTP -------------------------------------------------------------------------------------------------

    async def _ask(
        self,
        method: str,
        path: str,
        account: Account,
        content: object = None,
        *,
        key: str = "",
        cookie: str = "",
        keeps_session: bool = False,
    ) -> _Answer:
        headers = {"idempotency-key": key} if key else {}
        if cookie or account.session:
            headers["cookie"] = cookie or account.cookie
        try:
            async with self._client().request(
                method,
                self._base_url + path,
                json=content,
                headers=headers,
                allow_redirects=False,
                timeout=self._timeout,
                ssl=self._tls if self._tls is not None else True,
            ) as answer:
                body = await _body(answer)
                status, location = answer.status, answer.headers.get("location", "")
                cookies = {name: morsel.value for name, morsel in answer.cookies.items()}
        except TimeoutError as error:
            raise _Ended(Outcome.FAILED, f"no answer within {self._timeout_ms} ms") from error
        except (aiohttp.ClientError, OSError) as error:
            raise _Ended(*_no_answer(error)) from error
        if 300 <= status < 400:
            # Without its query: a log-in page of somebody else may have a token in it.
            raise _Ended(Outcome.FAILED, f"redirects to {location.partition('?')[0][:100] or 'nowhere'}")
        if not keeps_session:
            account.session = cookies.get("session", account.session)
            account.claim = cookies.get("claim", account.claim)
        return _Answer(status, _document(status, body))

    def _client(self) -> aiohttp.ClientSession:
        if self._http is None:
            self._http = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=4, keepalive_timeout=60),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
            )
        return self._http


async def _body(answer: aiohttp.ClientResponse) -> bytes:
    """All of it; one that never ends is an answer that never came."""
    body = b""
    async for chunk in answer.content.iter_chunked(_BODY_BYTES_MAX):
        body += chunk
        if len(body) > _BODY_BYTES_MAX:
            raise _Ended(Outcome.FAILED, f"answered with more than {_BODY_BYTES_MAX} bytes")
    return body


def _document(status: int, body: bytes) -> Mapping[str, Any]:
    try:
        content = json.loads(body)
    except ValueError:
        content = None
    if not isinstance(content, dict):
        if 200 <= status < 300:
            raise _Ended(Outcome.FAILED, f"answered {status} with something that is no JSON object")
        return {}
    if 200 <= status < 300 and content.get("error"):
        raise _Ended(Outcome.FAILED, f"answered {status} with an error inside")
    return content


def _whole(answer: _Answer, name: str) -> int:
    value = answer.content.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise _Ended(Outcome.FAILED, f"answered {answer.status} without `{name}`")
    return value


def _refusal(answer: _Answer) -> tuple[Outcome, str]:
    if answer.status == 429:
        return Outcome.INCONCLUSIVE, "answered 429: the test account is asked too often"
    return Outcome.FAILED, f"answered {answer.status}"


def _no_answer(error: BaseException) -> tuple[Outcome, str]:
    """Whose fault it is that there is no answer, and in which words; never with what was sent."""
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return Outcome.INCONCLUSIVE, "its name is not known here"
    if getattr(error, "errno", None) in _OURS:
        return Outcome.INCONCLUSIVE, "this machine has no connections left"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return Outcome.FAILED, "its certificate is not valid"
    if isinstance(error, aiohttp.ClientSSLError | ssl.SSLError):
        return Outcome.FAILED, "no TLS connection"
    if isinstance(error, aiohttp.ClientConnectorError):
        return Outcome.FAILED, "takes no connections"
    return Outcome.FAILED, f"the answer broke off ({type(error).__name__})"
