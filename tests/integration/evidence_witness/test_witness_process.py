"""The witness as a process: killed, hung, full, doubled, fed with garbage."""

from __future__ import annotations

import asyncio
import json
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from siaga.errors import Unreachable
from siaga.evidence.cosigning import Refusal
from siaga.evidence.keys import SigningKey
from siaga.evidence.notes import checkpoint_text, cosigned_at, written
from siaga.evidence.signatures import ED25519, parse_note
from siaga.evidence.witness_client import WitnessRefused

pytestmark = pytest.mark.clause("SUM")

KEY = SigningKey("siaga/test/1", ED25519, Ed25519PrivateKey.from_private_bytes(b"\1" * 32))


async def cosign(witness: Any, log: Any, old: int, size: int) -> str:
    text = checkpoint_text(log.origin, size, log.root(size), log.chain(size))
    proof = log.consistency(old, size) if 0 < old < size else ()
    note = written(text, [KEY.sign(text, 0)])
    return str(await witness.client.cosign(note, KEY.public, old_size=old, proof=proof, handovers=(), epoch=0))


def raw(witness: Any, content: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(str(witness.socket))
        client.sendall(content)
        client.shutdown(socket.SHUT_WR)
        answer = b""
        while part := client.recv(65536):
            answer += part
    return answer


async def test_it_cosigns_what_grows_and_a_killed_one_has_forgotten_nothing(witness: Any, log: Any) -> None:
    await log.grow(9)
    note = await cosign(witness, log, 0, 5)
    key = (await witness.client.public_key()).key
    witness.kill()
    with pytest.raises(Unreachable, match="the witness does not answer"):
        await witness.client.last(log.origin)
    witness.start()
    seen = await witness.client.last(log.origin)
    assert (seen.witness.key, seen.checkpoint.size, seen.refusal) == (key, 5, "")
    with pytest.raises(WitnessRefused) as refused:
        await cosign(witness, log, 0, 4)
    assert refused.value.refusal is Refusal.SHRINK
    assert parse_note(await cosign(witness, log, 5, 9)).signed_by([key]) == key
    assert cosigned_at(parse_note(note), key) > 1_600_000_000


def test_it_needs_the_standard_library_and_cryptography_alone() -> None:
    def loaded(module: str) -> set[str]:
        command = f"import sys, {module}; print(*{{name.partition('.')[0] for name in sys.modules}})"
        done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
        return set(done.stdout.split())

    ours = loaded("siaga.evidence.witness") - loaded("cryptography.hazmat.primitives.asymmetric.ed25519")
    assert ours - sys.stdlib_module_names <= {"siaga", "_cffi_backend", "_openssl"}


async def test_key_memory_and_socket_are_its_user_s_alone(witness: Any, log: Any) -> None:
    await log.grow(1)
    await cosign(witness, log, 0, 1)
    for path in (witness.socket, *witness.directory.iterdir()):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


async def test_a_hung_one_is_given_up_in_time_and_goes_on_later(witness: Any, log: Any) -> None:
    await log.grow(1)
    witness.hang()
    with pytest.raises(Unreachable, match=r"does not answer \(TimeoutError\)"):
        await cosign(witness, log, 0, 1)
    witness.go_on()
    # What was asked while it hung may have been done since: asking again from what it says it saw is safe.
    seen = await witness.client.last(log.origin)
    await cosign(witness, log, seen.checkpoint.size if seen.checkpoint else 0, 1)


async def test_two_clients_at_once_never_roll_it_back(witness: Any, log: Any) -> None:
    await log.grow(40)
    await cosign(witness, log, 0, 1)

    async def advance(step: int) -> None:
        while (seen := (await witness.client.last(log.origin)).checkpoint).size < 40:
            try:
                await cosign(witness, log, seen.size, min(seen.size + step, 40))
            except WitnessRefused as refused:
                # The other one was faster: told so, or found to be behind by now.
                assert refused.refusal in (Refusal.CONFLICT, Refusal.SHRINK)

    await asyncio.gather(advance(1), advance(3))
    assert (await witness.client.last(log.origin)).checkpoint.size == 40


@pytest.mark.parametrize("content", [b"\0\xff\n", b"[]\n", b"{}\n", b'{"op": "cosign"}\n', b"\n", b'{"op": 1}\n'])
async def test_garbage_is_answered_and_the_next_one_served(witness: Any, content: bytes) -> None:
    assert json.loads(raw(witness, content))["refused"] == "bad request"
    assert await witness.client.public_key()


async def test_a_line_without_end_is_dropped_and_the_next_client_served(witness: Any) -> None:
    try:
        answer = raw(witness, b"x" * (3 << 20))
    except OSError:
        answer = b""  # closed in our face: as good
    assert answer == b""
    assert await witness.client.public_key()


async def test_a_client_that_says_nothing_holds_nobody_up(witness: Any) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.connect(str(witness.socket))
        silent.sendall(b'{"op": "publ')
        assert await witness.client.public_key()


async def test_a_second_process_on_its_directory_is_refused(witness: Any) -> None:
    second = subprocess.run(
        [*witness.command()[:-1], str(witness.socket) + "2"], capture_output=True, text=True, timeout=30
    )
    assert second.returncode == 4
    assert "another witness holds this state directory" in second.stderr
    assert await witness.client.public_key()


async def test_with_its_disk_full_it_cosigns_nothing_and_says_why(witness: Any, log: Any) -> None:
    await log.grow(9)
    await cosign(witness, log, 0, 5)
    witness.fill_its_disk()
    with pytest.raises(Unreachable, match="can't write its memory"):
        await cosign(witness, log, 5, 9)
    assert (await witness.client.last(log.origin)).checkpoint.size == 5
    witness.make_room()
    assert await cosign(witness, log, 5, 9)


async def test_with_its_memory_damaged_it_answers_why_until_it_is_restored(witness: Any, log: Any) -> None:
    await log.grow(9)
    await cosign(witness, log, 0, 5)
    witness.kill()
    memory = witness.directory / "memory.json"
    whole = memory.read_bytes()
    memory.write_bytes(whole[: len(whole) // 2])
    witness.start()
    with pytest.raises(Unreachable, match=r"the witness's memory .* is damaged"):
        await witness.client.last(log.origin)
    memory.write_bytes(whole)
    assert (await witness.client.last(log.origin)).checkpoint.size == 5


async def test_a_stopped_one_takes_its_socket_along_and_a_stale_one_is_no_hindrance(witness: Any) -> None:
    witness.stop()
    assert witness.process.returncode == 0
    assert not witness.socket.exists()
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(witness.socket))
    witness.start()
    assert await witness.client.public_key()


async def test_an_answer_that_is_none_counts_as_no_answer(directories: Callable[[], Path]) -> None:
    from siaga.evidence.witness_client import WitnessClient

    path = directories() / "s"

    async def nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(answers.pop() + b"\n")
        writer.close()

    answers = [b"", b"[]", b"{}", b'{"key": "x", "handovers": []}', b'{"refused": "because", "why": ""}', b"\xff"]
    server = await asyncio.start_unix_server(nonsense, path=str(path))
    async with server:
        while answers:
            with pytest.raises(Unreachable, match="can't be understood"):
                await WitnessClient(path).public_key()
