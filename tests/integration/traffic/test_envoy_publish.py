from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest
from front import Front

from benchmarks.traffic.engines import envoy_program, run_envoy, siaga_config
from benchmarks.traffic.rig import Fault, Rig
from siaga.errors import BadInput
from siaga.hosts.local import LocalHost
from siaga.traffic import envoy as hands
from siaga.traffic.envoy import Envoy, Outcome
from siaga.traffic.envoy_config import discovery_file, render

pytestmark = pytest.mark.clause("ZDT-1.1a")


async def test_a_drained_node_gets_no_request_and_a_restored_one_does(front: Front) -> None:
    region = front.region("sgp")
    drained = await front.envoy.publish(region, {"sgp-1": 0, "sgp-2": 100})
    assert (drained.outcome, drained.reason) == (Outcome.DONE, "")
    assert {(await front.get("sgp")).served_by for _ in range(30)} == {"sgp-2"}
    assert (await front.seen())["sgp-1"].draining
    assert (await front.probe("sgp", "sgp-1")).served_by == "sgp-1"
    restored = await front.envoy.publish(region, {"sgp-1": 100, "sgp-2": 100})
    assert restored.outcome is Outcome.DONE
    assert {(await front.get("sgp")).served_by for _ in range(40)} == {"sgp-1", "sgp-2"}


async def test_forty_publications_in_a_row_are_each_confirmed_within_a_second(front: Front) -> None:
    region = front.region("sgp")
    for number in range(40):
        published = await front.envoy.publish(region, {"sgp-1": 0 if number % 2 else 100})
        assert published.outcome is Outcome.DONE
        assert published.took_ms < 1_000


async def test_a_ramp_gives_a_node_its_share(front: Front) -> None:
    await front.envoy.publish(front.region("sgp"), {"sgp-1": 10, "sgp-2": 100})
    seen = await front.seen()
    assert (seen["sgp-1"].weight, seen["sgp-2"].weight) == (10, 100)
    served = [(await front.get("sgp")).served_by for _ in range(100)]
    assert 1 <= served.count("sgp-1") <= 30


async def test_a_drained_region_sends_its_users_to_the_next_one(front: Front) -> None:
    await front.envoy.publish(front.region("sgp"), {"sgp-1": 0, "sgp-2": 0})
    assert (await front.get("sgp")).served_by.startswith("fra")
    assert (await front.post("sgp")).served_by.startswith("fra")


async def test_bad_weights_never_reach_envoy(front: Front) -> None:
    path = front.directory / discovery_file("sgp")
    before = path.read_bytes()
    with pytest.raises(BadInput):
        await front.envoy.publish(front.region("sgp"), {"sgp-1": 1000})
    assert path.read_bytes() == before


class _Damaging(LocalHost):
    """A host that loses the second half of the first file it writes."""

    def __init__(self) -> None:
        super().__init__()
        self.damaged = False

    async def write(self, path: str, content: bytes, *, mode: int = 0o600) -> None:
        if not self.damaged:
            content, self.damaged = content[: len(content) // 2], True
        await super().write(path, content, mode=mode)


async def test_a_file_that_envoy_refuses_is_reported_and_the_previous_one_put_back(front: Front) -> None:
    path = front.directory / discovery_file("sgp")
    before = path.read_bytes()
    envoy = Envoy(_Damaging(), front.rig.ports.address("admin"), str(front.directory))
    published = await envoy.publish(front.region("sgp"), {"sgp-1": 0})
    await envoy.close()
    assert published.outcome is Outcome.FAILED
    assert "refused the discovery file of region `sgp`" in published.reason
    assert path.read_bytes() == before
    assert not (await front.seen())["sgp-1"].draining
    assert (await front.get("sgp")).status == 200


async def test_garbage_from_elsewhere_changes_nothing(front: Front) -> None:
    path = front.directory / discovery_file("sgp")
    scratch = path.with_suffix(".scratch")
    scratch.write_text("{]")
    scratch.rename(path)
    assert (await front.get("sgp")).status == 200
    assert (await front.envoy.publish(front.region("sgp"), {"sgp-1": 0})).outcome is Outcome.DONE


async def test_an_envoy_that_is_gone_leaves_the_outcome_unknown(
    rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hands, "_CONFIRM_S", 0.3)
    envoy = Envoy(LocalHost(), rig.ports.address("admin"), str(tmp_path))
    published = await envoy.publish(rig.site.region("sgp"), {"sgp-1": 0})
    await envoy.close()
    assert published.outcome is Outcome.UNKNOWN
    assert "did not answer" in published.reason or "does not answer" in published.reason
    assert (tmp_path / discovery_file("sgp")).exists()


async def test_envoy_tells_what_it_saw_of_each_node(front: Front) -> None:
    for fault in (Fault("503", nodes=("sgp-1",), settings={"status": 503}), Fault("kill", ("fra-1",), signal.SIGKILL)):
        await front.rig.inject(fault)
    await front.until("fra-1", healthy=False)
    while not (await front.seen())["sgp-1"].ejected:
        assert (await front.get("sgp")).status == 200
    seen = await front.seen()
    assert seen["sgp-1"].healthy
    assert seen["sgp-1"].errors >= 3
    assert seen["sgp-1"].requests == seen["sgp-1"].errors + seen["sgp-1"].successes
    assert not seen["sgp-2"].ejected
    assert seen["sgp-2"].address == rig_address(front, "sgp-2")


async def test_a_configuration_is_judged_by_envoy_itself(rig: Rig, tmp_path: Path) -> None:
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    config = siaga_config(rig, tmp_path)
    good.write_text(render(config))
    config["static_resources"]["clusters"][0]["lb_policy"] = "NEAREST"
    bad.write_text(render(config))
    program = str(envoy_program())
    assert await hands.validate(LocalHost(), program, str(good)) == ""
    assert "NEAREST" in await hands.validate(LocalHost(), program, str(bad))


async def test_the_admin_interface_may_be_a_socket_that_only_its_owner_opens(rig: Rig, tmp_path: Path) -> None:
    socket = tmp_path / "admin.sock"
    config = siaga_config(rig, tmp_path, admin=str(socket))
    async with run_envoy(rig, tmp_path, config, settle_s=0):
        assert socket.stat().st_mode & 0o777 == 0o600
        envoy = Envoy(LocalHost(), str(socket), str(tmp_path))
        assert {stats.node for stats in await envoy.observe()} == {node.name for node in rig.site.nodes}
        await envoy.close()


async def test_a_restored_region_has_its_users_back_within_seconds(front: Front) -> None:
    region = front.region("sgp")
    await front.envoy.publish(region, {"sgp-1": 0, "sgp-2": 0})
    for _ in range(10):
        assert (await front.get("sgp")).served_by.startswith("fra")
    await front.envoy.publish(region, {})
    async with asyncio.timeout(8):
        while (await front.get("sgp")).served_by.startswith("fra"):
            await asyncio.sleep(0.1)


async def test_two_publications_at_once_end_with_one_of_them_in_force(front: Front) -> None:
    region = front.region("sgp")
    await asyncio.gather(*(front.envoy.publish(region, {"sgp-1": weight}) for weight in (0, 50)))
    weights = {name: (s.weight, s.draining) for name, s in (await front.seen()).items() if name == "sgp-1"}
    assert weights["sgp-1"] in ((1, True), (50, False))


def rig_address(front: Front, node: str) -> str:
    return front.rig.ports.address(node)
