"""The keeper: real processes, killed, hung, adopted."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from siaga.errors import Unreachable
from siaga.hosts import processes
from siaga.hosts.keeper import Spec
from siaga.hosts.keeper_client import KeeperClient

DEADLINE_S = 10.0


def command(directory: Path, socket: str) -> list[str]:
    return [sys.executable, "-m", "siaga.hosts.keeper", str(directory / "keeper.json"), str(directory / socket)]


class KeeperUnderTest:
    """A real keeper process on a state directory of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.client = KeeperClient(directory / "k.sock")
        self.process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        self.process = subprocess.Popen(command(self.directory, "k.sock"))
        await until(self.client.answers)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def spec(self, name: str, script: str = "import time; time.sleep(600)", restart_delay_s: float = 0.05) -> Spec:
        return Spec(
            name=name,
            kind="test",
            argv=(sys.executable, "-c", script),
            log=str(self.directory / f"{name}.log"),
            restart_delay_s=restart_delay_s,
        )

    async def part(self, name: str) -> dict[str, object]:
        return next(part for part in await self.client.parts() if part["name"] == name)


async def until(condition: Callable[[], object], deadline_s: float = DEADLINE_S) -> None:
    """Wait for something to become true."""
    deadline = time.monotonic() + deadline_s
    while True:
        found = condition()
        if asyncio.iscoroutine(found):
            found = await found
        if found:
            return
        assert time.monotonic() < deadline, "the condition never became true"
        await asyncio.sleep(0.02)


@pytest.fixture
async def keeper(tmp_path: Path) -> AsyncIterator[KeeperUnderTest]:
    under_test = KeeperUnderTest(tmp_path)
    await under_test.start()
    yield under_test
    if not await under_test.client.answers():
        await under_test.start()
    for part in await under_test.client.parts():
        await under_test.client.remove(str(part["name"]))
    await under_test.client.leave()
    assert under_test.process is not None
    under_test.process.wait(timeout=DEADLINE_S)


async def test_a_killed_process_is_started_again(keeper: KeeperUnderTest) -> None:
    first = await keeper.client.put(keeper.spec("a"))
    os.kill(first["pid"], signal.SIGKILL)

    async def running_anew() -> bool:
        part = await keeper.part("a")
        return part["state"] == "running" and part["pid"] != first["pid"]

    await until(running_anew)
    assert (await keeper.part("a"))["restarts"] == 1


async def test_a_process_that_keeps_failing_is_restarted_ever_more_slowly(keeper: KeeperUnderTest) -> None:
    began = time.monotonic()
    await keeper.client.put(keeper.spec("broken", "raise SystemExit(3)"))

    async def tried(times: int) -> bool:
        return int(str((await keeper.part("broken"))["restarts"])) >= times

    await until(lambda: tried(5))
    # Delays of 0.05, 0.1, 0.2 and 0.4 s lie before the fifth: a loop without back-off would take no time.
    assert time.monotonic() - began > 0.7
    await until(lambda: _why(keeper, "broken", "exited with 3"))


async def _why(keeper: KeeperUnderTest, name: str, why: str) -> bool:
    return (await keeper.part(name))["why"] == why


async def test_a_program_that_does_not_exist_is_told_and_retried(keeper: KeeperUnderTest) -> None:
    spec = Spec(name="none", kind="test", argv=("/does/not/exist",), log=str(keeper.directory / "none.log"))
    part = await keeper.client.put(spec)
    assert part["state"] == "restarting"
    assert "could not be started" in str(part["why"])


async def test_processes_outlive_a_killed_keeper_and_the_next_one_adopts_them(keeper: KeeperUnderTest) -> None:
    before = await keeper.client.put(keeper.spec("a"))
    keeper.kill()
    process = processes.find(before["pid"])
    assert process is not None, "the kept process died with its keeper"
    with pytest.raises(Unreachable):
        await keeper.client.parts()
    await keeper.start()
    adopted = await keeper.part("a")
    assert adopted["pid"] == before["pid"]
    assert adopted["why"] == "adopted"
    processes.send(process, signal.SIGKILL)

    async def running_anew() -> bool:
        part = await keeper.part("a")
        return part["state"] == "running" and part["pid"] != before["pid"]

    await until(running_anew)


async def test_what_died_while_no_keeper_watched_is_started_by_the_next_one(keeper: KeeperUnderTest) -> None:
    before = await keeper.client.put(keeper.spec("a"))
    keeper.kill()
    os.kill(before["pid"], signal.SIGKILL)
    await keeper.start()
    after = await keeper.part("a")
    assert after["state"] == "running"
    assert after["pid"] != before["pid"]


async def test_a_pid_that_belongs_to_another_process_by_now_is_not_adopted(keeper: KeeperUnderTest) -> None:
    before = await keeper.client.put(keeper.spec("a"))
    keeper.kill()
    os.kill(before["pid"], signal.SIGKILL)
    # This very test stands in for the later process with the same pid.
    state = keeper.directory / "keeper.json"
    state.write_text(state.read_text().replace(f'"pid": {before["pid"]}', f'"pid": {os.getpid()}'))
    await keeper.start()
    assert (await keeper.part("a"))["pid"] not in (before["pid"], os.getpid())


async def test_a_process_started_but_not_yet_noted_by_a_killed_keeper_is_found(keeper: KeeperUnderTest) -> None:
    before = await keeper.client.put(keeper.spec("a"))
    keeper.kill()
    state = keeper.directory / "keeper.json"
    memory = json.loads(state.read_text())
    memory["a"]["process"] = None
    state.write_text(json.dumps(memory))
    await keeper.start()
    assert (await keeper.part("a"))["pid"] == before["pid"]


async def test_a_second_keeper_on_the_same_state_refuses(keeper: KeeperUnderTest) -> None:
    second = subprocess.run(
        command(keeper.directory, "x.sock"),
        capture_output=True,
        timeout=DEADLINE_S,
    )
    assert second.returncode == 1
    assert b"another keeper" in second.stderr
    assert await keeper.client.answers()


async def test_half_a_memory_file_does_not_stop_it(keeper: KeeperUnderTest) -> None:
    before = await keeper.client.put(keeper.spec("a"))
    keeper.kill()
    (keeper.directory / "keeper.json").write_text('{"a": {"spec"')
    await keeper.start()
    assert await keeper.client.parts() == []
    os.kill(before["pid"], signal.SIGKILL)


async def test_a_drill_holds_a_process_dead_and_it_comes_back_by_itself(keeper: KeeperUnderTest) -> None:
    before = await keeper.client.put(keeper.spec("a"))
    began = time.monotonic()
    await keeper.client.kill("a", hold_s=1.0)
    await until(lambda: processes.find(before["pid"]) is None)

    async def running() -> bool:
        part = await keeper.part("a")
        return part["state"] == "running" and part["pid"] != before["pid"]

    await until(running)
    # From before the kill: whenever this test gets a processor, the keeper has waited for at least so long.
    assert time.monotonic() - began > 0.9


async def test_a_drill_whose_keeper_dies_leaves_nothing_held(keeper: KeeperUnderTest) -> None:
    await keeper.client.put(keeper.spec("a"))
    await keeper.client.kill("a", hold_s=600.0)
    await until(lambda: _state(keeper, "a", "restarting"))
    keeper.kill()
    await keeper.start()
    await until(lambda: _state(keeper, "a", "running"))


async def _state(keeper: KeeperUnderTest, name: str, state: str) -> bool:
    return (await keeper.part(name))["state"] == state


async def test_a_hung_process_goes_on_after_the_drill(keeper: KeeperUnderTest) -> None:
    part = await keeper.client.put(keeper.spec("a"))
    await keeper.client.hang("a", hold_s=3.0)
    stat = Path(f"/proc/{part['pid']}/stat")
    await until(lambda: ") T " in stat.read_text())
    await until(lambda: ") S " in stat.read_text())


async def test_stop_ends_even_a_hung_process_within_its_grace(keeper: KeeperUnderTest) -> None:
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
    spec = keeper.spec("a", stubborn)
    part = await keeper.client.put(Spec(**{**spec.__dict__, "stop_grace_s": 0.3}))
    os.kill(part["pid"], signal.SIGSTOP)
    await keeper.client.stop("a")
    assert processes.find(part["pid"]) is None
    assert (await keeper.part("a"))["state"] == "stopped"


async def test_a_request_it_does_not_understand_gets_an_answer_and_harms_nothing(keeper: KeeperUnderTest) -> None:
    await keeper.client.put(keeper.spec("a"))
    reader, writer = await asyncio.open_unix_connection(str(keeper.directory / "k.sock"))
    for garbage in (b"not json\n", b'{"op": "fly"}\n', b'{"op": "kill", "name": "a"}\n', b"[1]\n"):
        writer.write(garbage)
        assert b"error" in await asyncio.wait_for(reader.readline(), DEADLINE_S), garbage
    writer.close()
    assert (await keeper.part("a"))["state"] == "running"
