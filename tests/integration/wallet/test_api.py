"""The HTTP API: sessions and their cookies, bad input, and stopping."""

from __future__ import annotations

import asyncio
import json
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest
from wallet.sessions import digest
from wallet_servers import Server, SessionCluster, User, free_ports, listens, wait_until

NewUser = Callable[[], User]


@pytest.mark.clause("ZDT-1.1b")
async def test_the_session_cookie_is_opaque_and_protected_and_any_node_serves_it(
    new_user: NewUser, nodes: list[Server], session_cluster: SessionCluster
) -> None:
    user = await new_user().register()
    url = f"http://127.0.0.1:{nodes[0].port}/login"
    body = json.dumps({"name": user.name, "password": "correct horse"})
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http, http.post(url, data=body) as told:
        cookies = told.headers.getall("set-cookie")
        assert told.headers["cache-control"] == "no-store"
    assert [cookie.partition("=")[0] for cookie in cookies] == ["session", "claim"]
    for cookie in cookies:
        assert {"Secure", "HttpOnly", "SameSite=Lax", "Path=/"} <= set(cookie.split("; "))
    token = cookies[0].partition("=")[2].partition(";")[0]
    assert len(token) == 43
    user.cookies = {"session": token}
    served_by = [(await user.send("GET", "/session", node=node)).headers["x-served-by"] for node in (0, 1)]
    assert served_by == ["sgp-1", "sgp-2"]
    stored = session_cluster.primary_of(f"session:{digest(token)}")
    with session_cluster.client(stored) as client:
        keys = list(client.scan_iter("*", count=1000))
        assert f"session:{digest(token)}" in keys
        assert not [key for key in keys if token in key]
        assert 0 < client.ttl(f"session:{digest(token)}") <= 43_200


@pytest.mark.clause("ZDT-1.1b")
async def test_a_log_out_revokes_the_session_everywhere(new_user: NewUser) -> None:
    user = await new_user().register(10)
    kept = dict(user.cookies)
    assert (await user.send("POST", "/logout")).status == 200
    assert user.cookies == {"session": "", "claim": ""}
    user.cookies = kept
    for node in (0, 1):
        assert (await user.send("GET", "/session", node=node)).status == 401
        assert (await user.send("GET", "/balance", node=node)).status == 401
        assert (await user.send("POST", "/deposit", {"amount": 1}, node=node, key="k")).status == 401


async def test_a_claim_alone_opens_nothing_while_the_store_answers(new_user: NewUser) -> None:
    user = await new_user().register(10)
    token = secrets.token_urlsafe(32)
    user.cookies["session"] = token
    assert (await user.send("GET", "/balance")).status == 401
    del user.cookies["session"]
    assert (await user.send("GET", "/balance")).status == 401
    assert (await user.send("POST", "/deposit", {"amount": 1}, key="k")).status == 401


async def test_a_missing_or_old_claim_is_renewed_and_a_fresh_one_kept(new_user: NewUser) -> None:
    user = await new_user().register()
    assert (await user.send("GET", "/session")).cookies == {}
    del user.cookies["claim"]
    assert list((await user.send("GET", "/session", node=1)).cookies) == ["claim"]


async def test_wrong_name_and_wrong_password_look_the_same(new_user: NewUser) -> None:
    user = await new_user().register()
    wrong = await user.send("POST", "/login", {"name": user.name, "password": "wrong horse"})
    nobody = await user.send("POST", "/login", {"name": "nobody-here", "password": "wrong horse"})
    assert (wrong.status, wrong.content) == (nobody.status, nobody.content)
    assert (wrong.status, wrong.content) == (401, {"error": "wrong name or password"})
    taken = await user.send("POST", "/register", {"name": user.name, "password": "correct horse"})
    assert taken.status == 409


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/deposit", {"amount": 0}, "amount"),
        ("/deposit", {"amount": -5}, "amount"),
        ("/deposit", {"amount": 1.5}, "amount"),
        ("/deposit", {"amount": "10"}, "amount"),
        ("/deposit", {"amount": True}, "amount"),
        ("/deposit", {"amount": 10**13}, "amount"),
        ("/deposit", {}, "amount"),
        ("/deposit", {"amount": 1, "to": 5}, "to"),
        ("/transfer", {"amount": 1}, "to"),
        ("/transfer", {"amount": 1, "to": 2**63}, "to"),
        ("/deposit", [1], "body"),
        ("/register", {"name": "Ann", "password": "correct horse"}, "name"),
        ("/register", {"name": "a\u0000b", "password": "correct horse"}, "name"),
        ("/register", {"name": "ann-ok", "password": "short"}, "password"),
        ("/register", {"name": "ann-ok", "password": "\ud800 lonely surrogate"}, "password"),
        ("/login", {"name": 5, "password": "correct horse"}, "name"),
    ],
)
async def test_bad_input_is_refused_naming_field_value_and_expectation(
    new_user: NewUser, path: str, body: object, field: str
) -> None:
    user = await new_user().register()
    answer = await user.send("POST", path, body, key=secrets.token_hex(8))
    assert (answer.status, answer.content["field"]) == (400, field)
    assert answer.content["found"]
    assert answer.content["expected"]
    assert "short" not in answer.content["found"]
    assert answer.headers["x-served-by"] == "sgp-1"


@pytest.mark.parametrize("raw", [b"", b"{", b"\xff\xfe", b"[" * 10_000, b'{"amount":' + b"9" * 5000 + b"}"])
async def test_a_body_that_is_no_json_object_is_refused(new_user: NewUser, raw: bytes) -> None:
    user = await new_user().register()
    assert (await user.send("POST", "/deposit", raw=raw, key=secrets.token_hex(8))).status == 400


async def test_other_bad_requests_are_refused(new_user: NewUser) -> None:
    user = await new_user().register()
    for key in (None, "", "k" * 129):
        answer = await user.send("POST", "/deposit", {"amount": 1}, key=key)
        assert (answer.status, answer.content["field"]) == (400, "Idempotency-Key")
    for limit in ("0", "101", "-1", "x", "1e2", "%00"):
        assert (await user.send("GET", f"/statement?limit={limit}")).status == 400
    assert (await user.send("POST", "/deposit", raw=b"x" * 20_000, key="k")).status == 413
    assert (await user.send("GET", "/deposit")).status == 405
    assert (await user.send("GET", "/nothing")).status == 404
    assert (await user.send("GET", "/nothing")).headers["x-served-by"] == "sgp-1"
    user.cookies = {"session": "no-such session", "claim": "a.b"}
    assert (await user.send("GET", "/balance")).status == 401


async def test_a_ready_node_says_so(new_user: NewUser) -> None:
    ready = await new_user().send("GET", "/readyz")
    assert (ready.status, ready.content) == (200, {"ready": True, "database": "ready", "sessions": "ready"})


async def test_a_node_told_to_stop_finishes_what_is_in_flight(
    directory: Path, nodes: list[Server], new_user: NewUser
) -> None:
    user = await new_user().register(10)
    (port,) = free_ports(1)
    config = json.loads((directory / "sgp-1.json").read_text()) | {"node": "sgp-3", "listen": f"127.0.0.1:{port}"}
    path = directory / "sgp-3.json"
    path.write_text(json.dumps(config))
    path.chmod(0o600)
    process = subprocess.Popen([sys.executable, "-m", "wallet", str(path)], cwd=directory)
    try:
        wait_until(lambda: listens(port), "the node listens", 30)
        async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
            passing = User(http, [port])
            passing.cookies = user.cookies
            # Each has its connection from now on: what is sent before the signal lies at the node before it, too.
            ready = await asyncio.gather(*(passing.send("GET", "/balance") for _ in range(20)))
            assert {answer.status for answer in ready} == {200}
            sending = [asyncio.create_task(passing.send("GET", "/balance")) for _ in range(20)]
            await asyncio.sleep(0)
            await sending[0]
            process.send_signal(signal.SIGTERM)
            answered = await asyncio.gather(*sending, return_exceptions=True)
        assert [answer for answer in answered if isinstance(answer, BaseException) or answer.status != 200] == []
        assert await asyncio.to_thread(process.wait, 5) == 0
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    ("change", "mode", "said"),
    [
        ({"nodee": "x"}, 0o600, "nodee"),
        ({"scrypt_log2n": 99}, 0o600, "scrypt_log2n"),
        ({}, 0o644, "mode 0644"),
    ],
)
def test_a_node_with_a_wrong_configuration_does_not_start(
    directory: Path, nodes: list[Server], change: dict[str, object], mode: int, said: str
) -> None:
    path = directory / "wrong.json"
    path.write_text(json.dumps(json.loads((directory / "sgp-1.json").read_text()) | change))
    path.chmod(mode)
    run = subprocess.run([sys.executable, "-m", "wallet", str(path)], capture_output=True, text=True, timeout=30)
    assert run.returncode == 2
    assert said in run.stderr
    assert "hint:" in run.stderr
    assert "Traceback" not in run.stderr
