"""Input checks, last known balances, passwords, deadlines, the load plan, the node's configuration."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from pathlib import Path

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from wallet import inputs
from wallet.deadline import Deadline
from wallet.errors import BadConfiguration, BadRequest
from wallet.install import verifies
from wallet.last_known import LastKnown
from wallet.load import Load, LoadPlan
from wallet.passwords import Passwords, hash_password, verify_password
from wallet.proof import answered_differently
from wallet.settings import load_claim_keys, load_secret, load_settings

DOORS = {"sgp": "http://127.0.0.1:1", "fra": "http://127.0.0.1:2"}


@given(st.binary(max_size=200))
def test_any_body_is_an_object_or_a_bad_request(body: bytes) -> None:
    try:
        assert isinstance(inputs.parse_body(body, ("amount",)), dict)
    except BadRequest as error:
        assert error.expected


@given(st.dictionaries(st.sampled_from(["amount", "to", "name", "password"]), st.none() | st.integers() | st.text()))
def test_any_field_is_valid_or_a_bad_request(fields: dict[str, object]) -> None:
    for read in (inputs.amount, inputs.counterparty, inputs.name, inputs.password):
        try:
            read(fields)
        except BadRequest as error:
            assert error.status == 400


def test_a_refusal_never_repeats_a_password() -> None:
    with pytest.raises(BadRequest) as refused:
        inputs.password({"password": "hunter2"})
    assert "hunter2" not in str(refused.value)


def test_a_balance_that_is_being_verified_is_forgotten() -> None:
    known = LastKnown()
    known.note(1001, 500, 0.0)
    known.forget(1001)
    known.forget(1002)
    assert known.recall(1001, 1.0) is None


def test_a_last_known_balance_is_shown_for_a_minute() -> None:
    known = LastKnown()
    known.note(7, 500, 10.0)
    assert known.recall(7, 70.0) == (500, 60.0)
    assert known.recall(7, 70.1) is None
    assert known.recall(8, 10.0) is None


def test_the_least_recently_noted_balance_is_forgotten_first() -> None:
    known = LastKnown()
    for account in range(10_001):
        known.note(account, 1, 0.0)
    assert known.recall(0, 0.0) is None
    assert known.recall(1, 0.0) == (1, 0.0)


async def test_a_password_matches_its_own_hash_only() -> None:
    passwords = Passwords(log2n=8)
    stored = await passwords.hash("correct horse")
    assert await passwords.verify("correct horse", stored)
    assert not await passwords.verify("wrong horse", stored)
    assert not await passwords.verify("correct horse", None)
    assert await passwords.verify("other", hash_password("other", 9))
    assert not verify_password("other", stored)
    passwords.stop()


def test_a_scram_verifier_is_recognised_so_it_need_not_change() -> None:
    link = psycopg.pq.PGconn.connect_start(b"host=127.0.0.1 port=1")
    verifier = link.encrypt_password(b"machine-made", b"wallet_app", b"scram-sha-256").decode()
    assert verifies(verifier, "machine-made")
    assert not verifies(verifier, "other")
    assert not verifies("md5abc", "machine-made")


async def test_a_deadline_expires_in_time() -> None:
    expired = asyncio.Event()
    begin = time.monotonic()
    Deadline(asyncio.get_running_loop().time() + 0.05, expired.set)
    await asyncio.wait_for(expired.wait(), 5)
    assert time.monotonic() - begin >= 0.05


async def test_an_answer_that_came_while_we_had_no_processor_is_not_late() -> None:
    reading, writing = await asyncio.open_connection(*await _echo())
    expired: list[bool] = []
    loop = asyncio.get_running_loop()
    deadline = Deadline(loop.time() + 0.02, lambda: expired.append(True))
    writing.write(b"ping")
    answer = asyncio.create_task(reading.readexactly(4))
    answer.add_done_callback(lambda _: deadline.cancel())
    await asyncio.sleep(0)
    time.sleep(0.06)  # noqa: ASYNC251 (this is the fault: the whole process stands still)
    assert await answer == b"ping"
    assert expired == []
    writing.close()


async def _echo() -> tuple[str, int]:
    """Start an echo server in a thread of its own, which does not stand still with us."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        accepted, _ = listener.accept()
        with listener, accepted:
            accepted.sendall(accepted.recv(4))

    threading.Thread(target=serve, daemon=True).start()
    host, port = listener.getsockname()
    return str(host), int(port)


@pytest.mark.parametrize(
    "change", [{"rate_per_s": 0}, {"users_per_region": 1}, {"front_doors": {}}, {"mix": {"steal": 1.0}}, {"mix": {}}]
)
def test_a_load_plan_that_cannot_be_run_is_refused(change: dict[str, object]) -> None:
    plan = {"front_doors": DOORS, "rate_per_s": 10, "users_per_region": 2, "seed": 1} | change
    with pytest.raises(ValueError, match="expected"):
        LoadPlan(**plan)  # type: ignore[arg-type]


def test_the_same_seed_gives_the_same_schedule(tmp_path: Path) -> None:
    def first(seed: int) -> list[tuple[float, str, str]]:
        schedule = Load(LoadPlan(DOORS, 100, 2, seed), tmp_path / "a")._schedule(5.0)
        return [next(schedule) for _ in range(200)]

    assert first(1) == first(1) != first(2)
    assert [region for _, region, _ in first(1)[:4]] == ["sgp", "fra", "sgp", "fra"]
    assert first(1)[199][0] == pytest.approx(5.0 + 1.99)


def test_a_key_acknowledged_with_two_transfers_is_doubled() -> None:
    lines = [{"key": key, "transfer": transfer} for key, transfer in (("a", 1), ("a", 1), ("b", 2), ("b", 3))]
    assert answered_differently(lines) == {"b"}


def test_a_secret_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("s3cret\n")
    path.chmod(0o640)
    with pytest.raises(BadConfiguration, match="0640, expected 0600") as refused:
        load_secret(path)
    assert "s3cret" not in str(refused.value) + refused.value.hint
    path.chmod(0o600)
    assert load_secret(path) == "s3cret"


@pytest.mark.parametrize("content", ["", "k1", "k1 zz", "k1 00ff", "a.b " + "00" * 32])
def test_a_claim_key_file_that_is_wrong_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "keys"
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(BadConfiguration, match="expected"):
        load_claim_keys(path)


def test_a_missing_configuration_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadConfiguration, match="cannot be read"):
        load_settings(tmp_path / "none.json")


def test_every_wrong_field_of_a_configuration_is_named(tmp_path: Path) -> None:
    path = tmp_path / "node.json"
    path.write_text(json.dumps({"node": "SGP 1", "listen": "nowhere", "colour": "red"}))
    path.chmod(0o600)
    with pytest.raises(BadConfiguration) as refused:
        load_settings(path)
    for field in ("node", "listen", "colour", "database"):
        assert f": {field}: " in str(refused.value)
