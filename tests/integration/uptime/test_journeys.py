"""Journeys through real sockets, to servers that redirect, hang, lie and break off."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from siaga.errors import Unreachable
from siaga.evidence.model import Record
from siaga.sop.limits import Limits
from siaga.uptime.counters import EnvoyCounters
from siaga.uptime.journeys import Attempt, Kind, provided_accounts
from siaga.uptime.lanes import Lanes
from siaga.uptime.machine import read_clocks, steady_ms
from siaga.uptime.model import Change, Outage, Outcome, Step
from siaga.uptime.service import UptimeService
from siaga.uptime.sqlite import FILE_NAME, SqliteStore
from siaga.uptime.wallet_journey import WalletJourney

pytestmark = pytest.mark.clause("ZDT-1")
TIMEOUT_MS = 400
Answer = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@dataclass
class Bank:
    """A small wallet that does right, but for the paths that were told to do otherwise."""

    odd: dict[str, Answer] = field(default_factory=dict)
    accounts: dict[str, tuple[int, str]] = field(default_factory=dict)
    sessions: dict[str, int] = field(default_factory=dict)
    balances: dict[int, int] = field(default_factory=dict)
    done: dict[str, dict[str, Any]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self.asked.append(request.path)
        if request.path in self.odd:
            return await self.odd[request.path](request)
        content = json.loads(await request.read() or b"{}")
        account = self.sessions.get(request.cookies.get("session", ""))
        match request.path:
            case "/register":
                self.accounts[content["name"]] = (len(self.accounts) + 1, content["password"])
                return self._welcome(content["name"], 201)
            case "/login":
                number, password = self.accounts.get(content["name"], (0, ""))
                if not number or password != content["password"]:
                    return web.json_response({"error": "wrong name or password"}, status=401)
                return self._welcome(content["name"], 200)
        if account is None:
            return web.json_response({"error": "not logged in"}, status=401)
        return self._inside(request, content, account)

    def _inside(self, request: web.BaseRequest, content: dict[str, Any], account: int) -> web.StreamResponse:
        key = request.headers.get("idempotency-key", "")
        match request.path:
            case "/logout":
                del self.sessions[request.cookies["session"]]
                return web.json_response({"logged_out": True})
            case "/balance":
                return web.json_response({"account": account, "balance": self.balances[account], "stale": False})
            case "/deposit":
                self.balances[account] += content["amount"]
                return web.json_response({"state": "done"})
        if key not in self.done:
            if self.balances[account] < content["amount"]:
                return web.json_response({"state": "refused", "reason": "insufficient_funds"}, status=409)
            self.balances[account] -= content["amount"]
            self.balances[content["to"]] += content["amount"]
            self.done[key] = {"state": "done", "amount": content["amount"]}
        return web.json_response(self.done[key])

    def _welcome(self, name: str, status: int) -> web.StreamResponse:
        number = self.accounts[name][0]
        self.balances.setdefault(number, 0)
        token = f"{name}.{len(self.asked)}"
        self.sessions[token] = number
        answer = web.json_response({"account": number}, status=status)
        answer.set_cookie("session", token, secure=True, httponly=True)
        return answer


@asynccontextmanager
async def served(answer: Answer, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    runner = web.ServerRunner(web.Server(answer), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def journey(url: str, *, provision: bool = True, tls: ssl.SSLContext | None = None) -> WalletJourney:
    return WalletJourney(
        url, provided_accounts("sgp", "a secret"), provision=provision, tls=tls, step_timeout_ms=TIMEOUT_MS
    )


@pytest.fixture
def bank() -> Bank:
    return Bank()


@pytest.fixture
async def traveller(bank: Bank) -> AsyncIterator[WalletJourney]:
    async with served(bank.answer) as url:
        found = journey(url)
        yield found
        await found.close()


async def test_test_accounts_are_made_and_their_money_goes_to_and_fro(bank: Bank, traveller: WalletJourney) -> None:
    for _ in range(4):
        assert await traveller.travel(Kind.FULL) == Attempt(Outcome.OK)
    assert sorted(bank.balances.values()) == [1000, 1000]
    assert len(bank.done) == 4
    # The session of the log-in before is ended each time: only each account's own is left.
    assert len(bank.sessions) == 2


async def test_a_light_journey_asks_for_the_balance_alone(bank: Bank, traveller: WalletJourney) -> None:
    await traveller.travel(Kind.FULL)
    bank.asked.clear()
    assert await traveller.travel(Kind.LIGHT) == Attempt(Outcome.OK)
    assert bank.asked == ["/balance"]


async def test_an_expired_session_is_renewed_and_no_outage(bank: Bank, traveller: WalletJourney) -> None:
    await traveller.travel(Kind.FULL)
    bank.sessions.clear()
    assert await traveller.travel(Kind.LIGHT) == Attempt(Outcome.OK)


async def _redirect(request: web.BaseRequest) -> web.StreamResponse:
    raise web.HTTPFound("/enter?token=abc")


async def _hang(request: web.BaseRequest) -> web.StreamResponse:
    await asyncio.Event().wait()
    raise AssertionError


async def _hang_in_the_body(request: web.BaseRequest) -> web.StreamResponse:
    answer = web.StreamResponse(headers={"content-length": "100"})
    await answer.prepare(request)
    await answer.write(b'{"account": 1, "bal')
    return await _hang(request)


async def _break_off(request: web.BaseRequest) -> web.StreamResponse:
    answer = web.StreamResponse(headers={"content-length": "100"})
    await answer.prepare(request)
    await answer.write(b'{"account": 1, "bal')
    assert request.transport is not None
    request.transport.abort()
    return answer


async def _endless(request: web.BaseRequest) -> web.StreamResponse:
    answer = web.StreamResponse()
    await answer.prepare(request)
    for _ in range(100):
        await answer.write(b" " * 65_536)
    return answer


def _says(content: object, status: int = 200) -> Answer:
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        return web.json_response(content, status=status)

    return answer


async def _page(request: web.BaseRequest) -> web.StreamResponse:
    return web.Response(text="<html>We'll be back soon</html>")


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (_redirect, "balance: redirects to /enter"),
        (_hang, f"balance: no answer within {TIMEOUT_MS} ms"),
        (_hang_in_the_body, f"balance: no answer within {TIMEOUT_MS} ms"),
        (_break_off, "balance: the answer broke off"),
        (_endless, "balance: answered with more than 65536 bytes"),
        (_page, "balance: answered 200 with something that is no JSON object"),
        (_says({"error": "database outage"}), "balance: answered 200 with an error inside"),
        (_says({"account": 2, "balance": 5, "stale": True}), "balance: answered with an old balance"),
        (_says({"account": 77, "balance": 5, "stale": False}), "balance: answered with somebody else's account"),
        (_says({"account": 1, "stale": False}), "balance: answered 200 without `balance`"),
        (_says([1, 2]), "balance: answered 200 with something that is no JSON object"),
        (_says({"error": "database outage"}, 503), "balance: answered 503"),
        (_says({}, 404), "balance: answered 404"),
    ],
)
async def test_only_the_right_answer_is_believed(
    bank: Bank, traveller: WalletJourney, answer: Answer, why: str
) -> None:
    assert (await traveller.travel(Kind.FULL)).outcome is Outcome.OK
    bank.odd["/balance"] = answer
    found = await traveller.travel(Kind.LIGHT)
    assert (found.outcome, found.step) == (Outcome.FAILED, Step.BALANCE)
    assert found.why.startswith(why)
    assert "abc" not in found.why
    del bank.odd["/balance"]
    assert await traveller.travel(Kind.AGAIN) == Attempt(Outcome.OK)


async def test_a_transfer_that_was_not_answered_is_repeated_and_happens_once(
    bank: Bank, traveller: WalletJourney
) -> None:
    await traveller.travel(Kind.FULL)
    before = len(bank.done)

    async def done_but_not_answered(request: web.BaseRequest) -> web.StreamResponse:
        del bank.odd["/transfer"]
        await bank.answer(request)
        return await _hang(request)

    bank.odd["/transfer"] = done_but_not_answered
    found = await traveller.travel(Kind.FULL)
    assert (found.outcome, found.step) == (Outcome.FAILED, Step.TRANSFER)
    assert await traveller.travel(Kind.AGAIN) == Attempt(Outcome.OK)
    assert len(bank.done) == before + 1


async def test_a_transfer_of_another_amount_has_failed(bank: Bank, traveller: WalletJourney) -> None:
    bank.odd["/transfer"] = _says({"state": "done", "amount": 2})
    found = await traveller.travel(Kind.FULL)
    assert (found.outcome, found.step) == (Outcome.FAILED, Step.TRANSFER)


async def test_a_light_journey_after_a_failed_log_in_logs_in(bank: Bank, traveller: WalletJourney) -> None:
    await traveller.travel(Kind.FULL)
    bank.odd["/login"] = _says({}, 503)
    assert (await traveller.travel(Kind.FULL)).step is Step.LOG_IN
    assert (await traveller.travel(Kind.AGAIN)).step is Step.LOG_IN
    del bank.odd["/login"]
    assert await traveller.travel(Kind.AGAIN) == Attempt(Outcome.OK)


async def test_what_is_our_own_fault_says_nothing_about_the_platform(bank: Bank, traveller: WalletJourney) -> None:
    await traveller.travel(Kind.FULL)
    bank.balances.update(dict.fromkeys(bank.balances, 0))
    poor = await traveller.travel(Kind.FULL)
    assert (poor.outcome, "no money left" in poor.why) == (Outcome.INCONCLUSIVE, True)
    assert (await traveller.travel(Kind.FULL)).outcome is Outcome.OK
    bank.odd["/balance"] = _says({}, 429)
    assert (await traveller.travel(Kind.LIGHT)).outcome is Outcome.INCONCLUSIVE


async def test_an_account_that_nobody_knows_is_not_made_on_a_platform_that_is_not_ours(bank: Bank) -> None:
    async with served(bank.answer) as url:
        found = journey(url, provision=False)
        attempt = await found.travel(Kind.FULL)
        await found.close()
    assert (attempt.outcome, bank.accounts) == (Outcome.INCONCLUSIVE, {})
    assert provided_accounts("sgp", "a secret")[0].password not in attempt.why


async def test_a_password_that_was_good_once_and_is_refused_is_the_platforms_failure(
    bank: Bank, traveller: WalletJourney
) -> None:
    await traveller.travel(Kind.FULL)
    bank.odd["/login"] = _says({"error": "wrong name or password"}, 401)
    assert (await traveller.travel(Kind.FULL)).outcome is Outcome.FAILED


async def test_nobody_listening_is_an_outage_and_an_unknown_name_is_not(bank: Bank) -> None:
    async with served(bank.answer) as url:
        pass
    refused, unnamed = journey(url), journey("http://front-door.invalid")
    try:
        assert (await refused.travel(Kind.FULL)).why == "log in: takes no connections"
        assert (await unnamed.travel(Kind.FULL)).outcome is Outcome.INCONCLUSIVE
    finally:
        await refused.close()
        await unnamed.close()


async def test_tls_is_verified(bank: Bank, tmp_path: Path) -> None:
    server, trusting = _certificates(tmp_path)
    async with served(bank.answer, server) as url:
        trusted, stranger = journey(url, tls=trusting), journey(url)
        try:
            assert await trusted.travel(Kind.FULL) == Attempt(Outcome.OK)
            found = await stranger.travel(Kind.FULL)
            assert (found.outcome, found.why) == (Outcome.FAILED, "log in: its certificate is not valid")
        finally:
            await trusted.close()
            await stranger.close()


def _certificates(directory: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime.now(UTC) - timedelta(days=1))
        .not_valid_after(datetime.now(UTC) + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (directory / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (directory / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(directory / "cert.pem", directory / "key.pem")
    return server, ssl.create_default_context(cafile=str(directory / "cert.pem"))


async def test_the_counters_of_a_proxy_that_answers_and_of_one_that_does_not() -> None:
    async def page(request: web.BaseRequest) -> web.StreamResponse:
        assert request.path == "/stats"
        return web.Response(text="http.front-sgp.downstream_rq_2xx: 9\nhttp.front-sgp.downstream_rq_5xx: 1\n")

    async with served(page) as url:
        counters = EnvoyCounters(url.removeprefix("http://"))
        assert await counters.read() == {"sgp": (10, 1)}
    try:
        with pytest.raises(Unreachable, match="counters can't be read"):
            await counters.read()
    finally:
        await counters.close()


# The whole way, in real time ----------------------------------------------------------------------------------


@dataclass
class Kept:
    """What the service says to others."""

    outages: list[tuple[Outage, int]] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def on_change(self, change: Change) -> None:
        if isinstance(change, Outage):
            self.outages.append((change, read_clocks().wall_ms))
            self.changed.set()

    async def append(self, record: Record) -> int:
        return 1

    async def append_exempt(self, record: Record) -> None:
        raise AssertionError(record)

    async def read(self) -> dict[str, tuple[int, int]]:
        raise Unreachable("there is no proxy here", hint="")

    async def close(self) -> None:
        return None

    async def until(self, holds: Callable[[Outage], bool]) -> tuple[Outage, int]:
        async with asyncio.timeout(30):
            while True:
                for outage, at_ms in self.outages:
                    if holds(outage):
                        return outage, at_ms
                self.changed.clear()
                await self.changed.wait()


@pytest.mark.parametrize("fault", [_says({}, 503), _hang])
async def test_an_outage_is_hard_down_within_seconds_and_over_when_it_is_over(
    tmp_path: Path, bank: Bank, fault: Answer
) -> None:
    kept = Kept()
    async with served(bank.answer) as url:
        lanes = Lanes({("sgp", "sgp"): journey(url)}, steady_ms)
        service = UptimeService(
            ("sgp",),
            lanes,
            kept,
            SqliteStore(tmp_path / FILE_NAME),
            kept,
            Limits().uptime,
            clock=read_clocks,
            on_change=kept.on_change,
        )
        await service.open([])
        running = asyncio.create_task(_run(service))
        try:
            await _until_good(service)
            bank.odd.update(dict.fromkeys(("/balance", "/login", "/transfer"), fault))
            hard, _ = await kept.until(lambda outage: outage.hard_down)
            bank.odd.clear()
            ended, _ = await kept.until(lambda outage: outage.ended_ms is not None)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await service.close()
    assert hard.bad_until_ms - hard.onset_ms >= 2_000
    assert ended.onset_ms == hard.onset_ms
    assert ended.journeys[0] in (Step.BALANCE, Step.LOG_IN)


async def _run(service: UptimeService) -> None:
    while True:
        await service.run_pass()
        await asyncio.sleep(0.05)


async def _until_good(service: UptimeService) -> None:
    async with asyncio.timeout(30):
        while (await service.figures()).good_ms < 500:
            await asyncio.sleep(0.05)
