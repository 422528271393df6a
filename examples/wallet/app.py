"""The wallet's HTTP API: register, log in and out, balance, statement, deposit, withdraw, transfer."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from wallet import inputs
from wallet.answers import (
    ServedBy,
    answer,
    on_bad_request,
    on_being_verified,
    on_bug,
    on_http_error,
    on_not_logged_in,
    on_outage,
    outage_headers,
    set_cookie,
)
from wallet.claim import Claim, ClaimKeys
from wallet.errors import BadRequest, BeingVerified, NotLoggedIn, Outage
from wallet.last_known import LastKnown
from wallet.ledger import Ledger
from wallet.passwords import Passwords
from wallet.postgres import Postgres
from wallet.sessions import Session, Sessions, digest
from wallet.settings import Settings, load_claim_keys, load_secret
from wallet.valkey_cluster import ValkeyCluster


def create_app(settings: Settings) -> Starlette:
    """The application of one node; starting it opens its connections, in the background where a part is away."""
    password_file = settings.sessions.password_file
    cluster = ValkeyCluster(
        settings.sessions.servers,
        user=settings.sessions.user,
        password=load_secret(password_file) if password_file else None,
        deadline_s=settings.sessions.deadline_ms / 1000,
    )
    postgres = Postgres(settings.database, load_secret(settings.database.password_file))
    passwords = Passwords(settings.scrypt_log2n)
    claims = ClaimKeys(load_claim_keys(settings.claim.key_file), settings.claim.ttl_s)
    wallet = Wallet(Ledger(postgres), Sessions(cluster, settings.sessions.ttl_s), claims, passwords)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        await postgres.start()
        await cluster.start()
        yield
        await cluster.stop()
        await postgres.stop()
        passwords.stop()

    app = Starlette(
        routes=wallet.routes(),
        middleware=[Middleware(ServedBy, node=settings.node)],
        exception_handlers={
            Outage: on_outage,
            BadRequest: on_bad_request,
            BeingVerified: on_being_verified,
            NotLoggedIn: on_not_logged_in,
            HTTPException: on_http_error,
            Exception: on_bug,
        },
        lifespan=lifespan,
    )
    app.state.node = settings.node
    return app


class Wallet:
    """The endpoints."""

    def __init__(self, ledger: Ledger, sessions: Sessions, claims: ClaimKeys, passwords: Passwords) -> None:
        self._ledger = ledger
        self._sessions = sessions
        self._claims = claims
        self._passwords = passwords
        self._last_known = LastKnown()

    def routes(self) -> list[Route]:
        """Every path of the API."""
        return [
            Route("/balance", self.balance),
            Route("/transfer", self.transfer, methods=["POST"]),
            Route("/deposit", self.deposit, methods=["POST"]),
            Route("/withdraw", self.withdraw, methods=["POST"]),
            Route("/statement", self.statement),
            Route("/session", self.session),
            Route("/login", self.login, methods=["POST"]),
            Route("/logout", self.logout, methods=["POST"]),
            Route("/register", self.register, methods=["POST"]),
            Route("/livez", self.livez),
            Route("/readyz", self.readyz),
        ]

    async def register(self, request: Request) -> Response:
        """POST /register {name, password}: a user, an account, and a session."""
        fields = inputs.parse_body(await _body(request), ("name", "password"))
        name, password = inputs.name(fields), inputs.password(fields)
        registered = await self._ledger.register(name, await self._passwords.hash(password))
        if registered is None:
            return answer({"error": f"the name {name} is taken", "hint": "log in, or choose another"}, 409)
        return await self._welcome(registered.user, registered.account, name, 201)

    async def login(self, request: Request) -> Response:
        """POST /login {name, password}: a session."""
        fields = inputs.parse_body(await _body(request), ("name", "password"))
        name, password = inputs.name(fields), inputs.password(fields)
        known = await self._ledger.credentials(name)
        if not await self._passwords.verify(password, known.password_hash if known else None) or known is None:
            return answer({"error": "wrong name or password"}, 401)
        return await self._welcome(known.user, known.account, name, 200)

    async def logout(self, request: Request) -> Response:
        """POST /logout: the session is gone from every server before the answer."""
        token = request.cookies.get("session")
        if token:
            await self._sessions.end(digest(token))
        response = answer({"logged_out": True})
        set_cookie(response, "session", "", 0)
        set_cookie(response, "claim", "", 0)
        return response

    async def session(self, request: Request) -> Response:
        """GET /session: who am I, and until when; answered without the database."""
        session, claim = await self._reader(request)
        return self._with_claim(answer(_shown(session)), claim)

    async def balance(self, request: Request) -> Response:
        """GET /balance: marked while being verified; while the database is away the last one seen, marked stale."""
        session, claim = await self._reader(request)
        account = session.account
        try:
            balance = await self._ledger.balance(account)
        except Outage:
            recalled = self._last_known.recall(account, time.monotonic())
            if recalled is None:
                raise
            amount, age_s = recalled
            content = {"account": account, "balance": amount, "stale": True, "age_s": round(age_s, 3)}
            return self._with_claim(answer(content, headers={"x-siaga-stale": f"{age_s:.3f}"}), claim)
        if balance.is_open:
            self._last_known.note(account, balance.amount, time.monotonic())
        else:
            self._last_known.forget(account)
        content = {"account": account, "balance": balance.amount, "stale": False, "being_verified": not balance.is_open}
        return self._with_claim(answer(content), claim)

    async def statement(self, request: Request) -> Response:
        """GET /statement?limit=: the latest entries, newest first."""
        limit = inputs.statement_limit(request.query_params.get("limit"))
        session, claim = await self._reader(request)
        entries = [
            {
                "sequence": entry.sequence,
                "kind": entry.kind,
                "amount": entry.amount,
                "balance_after": entry.balance_after,
                "transfer": entry.transfer,
                "created_at": entry.created_at.isoformat(),
            }
            for entry in await self._ledger.statement(session.account, limit)
        ]
        return self._with_claim(answer({"account": session.account, "entries": entries}), claim)

    async def deposit(self, request: Request) -> Response:
        """POST /deposit {amount}."""
        return await self._move(request, "deposit")

    async def withdraw(self, request: Request) -> Response:
        """POST /withdraw {amount}."""
        return await self._move(request, "withdraw")

    async def transfer(self, request: Request) -> Response:
        """POST /transfer {to, amount}."""
        return await self._move(request, "transfer")

    async def livez(self, request: Request) -> Response:
        """GET /livez: this process serves. Never about database or sessions: their loss must not eject every node."""
        return answer({"live": True})

    async def readyz(self, request: Request) -> Response:
        """GET /readyz: this node's own way to the sessions and to the database."""
        found = {"database": "ready", "sessions": "ready"}
        missing: Outage | None = None
        for check in (self._sessions.check, self._ledger.check):
            try:
                await check()
            except Outage as outage:
                found[outage.part] = outage.why
                missing = outage
        if missing is None:
            return answer({"ready": True, **found})
        return answer({"ready": False, **found}, 503, outage_headers(missing.part))

    async def _move(self, request: Request, kind: str) -> Response:
        key = inputs.idempotency_key(request.headers.get("idempotency-key"))
        fields = inputs.parse_body(await _body(request), ("to", "amount") if kind == "transfer" else ("amount",))
        amount = inputs.amount(fields)
        counterparty = inputs.counterparty(fields) if kind == "transfer" else None
        token = request.cookies.get("session")
        session = await self._sessions.find(digest(token)) if token else None
        if session is None:
            raise NotLoggedIn
        receipt = await self._ledger.move(key, kind, session.account, counterparty, amount)
        if receipt.outcome == "conflict":
            raise BadRequest("Idempotency-Key", key, "a key that was not used for another request", status=422)
        if not receipt.replayed:
            self._last_known.note(session.account, receipt.balance, time.monotonic())
        content = {
            "state": receipt.outcome,
            "transfer": receipt.transfer,
            "kind": kind,
            "account": session.account,
            "amount": amount,
            "balance": receipt.balance,
            "created_at": receipt.created_at.isoformat(),
        }
        if receipt.reason is not None:
            content["reason"] = receipt.reason
        headers = {"idempotent-replayed": "true"} if receipt.replayed else None
        return answer(content, 200 if receipt.outcome == "done" else 409, headers)

    async def _welcome(self, user: int, account: int, name: str, status: int) -> Response:
        token, session = await self._sessions.create(user, account, name, time.time())
        response = answer(_shown(session), status)
        set_cookie(response, "session", token, self._sessions.ttl_s)
        return self._with_claim(response, self._claim(session, digest(token)))

    async def _reader(self, request: Request) -> tuple[Session, str | None]:
        """Who reads, and a claim to set when theirs is old. The claim stands in while the store is silent."""
        cookies = request.cookies
        token = cookies.get("session")
        if not token:
            raise NotLoggedIn
        token_digest = digest(token)
        now_s = time.time()
        claim = self._claims.verify(cookies.get("claim", ""), token_digest, now_s)
        try:
            session = await self._sessions.find(token_digest)
        except Outage:
            if claim is None:
                raise
            return Session(claim.user, claim.account, claim.name, claim.session_expires_s), None
        if session is None:
            raise NotLoggedIn
        return session, self._claim(session, token_digest) if self._claims.needs_refresh(claim, now_s) else None

    def _claim(self, session: Session, token_digest: str) -> str:
        expires_s = int(time.time()) + self._claims.ttl_s
        signed = Claim(session.user, session.account, session.name, token_digest, session.expires_s, expires_s)
        return self._claims.sign(signed)

    def _with_claim(self, response: Response, claim: str | None) -> Response:
        if claim is not None:
            set_cookie(response, "claim", claim, self._claims.ttl_s)
        return response


def _shown(session: Session) -> dict[str, int | str]:
    return {"user": session.user, "account": session.account, "name": session.name, "expires_s": session.expires_s}


async def _body(request: Request) -> bytes:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > inputs.BODY_BYTES_MAX:
            raise BadRequest("body", f"over {len(body)} bytes", f"at most {inputs.BODY_BYTES_MAX} bytes", status=413)
    return body
