"""The session loop against six real Valkey servers that are killed, stopped and brought back."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from siaga.sessions.separation import Cluster, Placement
from siaga.sessions.service import SessionsService
from siaga.sop.adherence import Adherence
from siaga.sop.limits import Limits

if TYPE_CHECKING:
    from tests.integration.sessions.conftest import ValkeyCluster, ValkeyServer

pytestmark = pytest.mark.clause("ZDT-1.1b")

PLACEMENTS = (
    Placement(Cluster.DATABASE, "transactions-1", "db-1", "postgresql", "/var/lib/postgresql", "db-1:sda", "aa"),
    Placement(Cluster.SESSIONS, "sessions-1", "cache-1", "valkey", "/var/lib/valkey", "cache-1:sda", "bb"),
)


class Watch:
    """The service under test, with what it recorded."""

    def __init__(self, cluster: ValkeyCluster, **credentials: str | None) -> None:
        """Watch `cluster`, with other credentials where given."""
        self.events: list[dict[str, object]] = []
        self.service = SessionsService(
            cluster.watcher(**credentials),
            Limits().sessions,
            record=lambda event: self.events.append(dict(event)),
            placements=lambda: PLACEMENTS,
            one_machine=False,
        )

    async def look(self) -> Adherence:
        """One pass; how the clause stands after it."""
        now = datetime.now(UTC)
        await self.service.run_pass(now)
        return self.service.standing(now).adherence

    async def until(self, holds: Callable[[Adherence], bool], *, deadline_s: float = 20.0) -> list[Adherence]:
        """Look several times a second until the standing is as asked; every standing on the way."""
        seen: list[Adherence] = []
        async with asyncio.timeout(deadline_s):
            while not seen or not holds(seen[-1]):
                seen.append(await self.look())
                await asyncio.sleep(0.05)
        return seen

    def show(self) -> dict[str, Any]:
        """What an operator sees."""
        return self.service.show(datetime.now(UTC))

    def kinds(self, kind: str) -> list[str]:
        """The reasons of the recorded events of one kind."""
        return [str(event["reason"]) for event in self.events if event["kind"] == f"sessions.{kind}"]


def holds(adherence: Adherence) -> bool:
    return adherence is Adherence.HOLDS


async def test_a_healthy_cluster_holds(cluster: ValkeyCluster) -> None:
    watch = Watch(cluster)
    assert await watch.look() is Adherence.HOLDS
    shown = watch.show()
    assert shown["slots_served"] == 16384
    assert len(shown["shards"]) == 3
    assert {server["role"] for server in shown["servers"]} == {"primary", "replica"}


async def test_a_killed_primary_is_a_failover_then_a_risk_until_the_server_is_back(cluster: ValkeyCluster) -> None:
    watch = Watch(cluster)
    await watch.look()
    victim = cluster.named(watch.show()["shards"][0]["primary"])
    victim.send(signal.SIGKILL)
    killed_at = time.monotonic()
    seen = await watch.until(lambda standing: bool(watch.kinds("failover")))
    assert time.monotonic() - killed_at < 5
    seen += await watch.until(lambda standing: standing is Adherence.AT_RISK)
    assert Adherence.HOLDS not in seen
    assert f"from {victim.name}, which refuses connections" in watch.kinds("failover")[0]
    victim.start()
    await watch.until(holds)
    assert next(s for s in watch.show()["servers"] if s["name"] == victim.name)["role"] == "replica"


async def test_a_stopped_primary_is_seen_and_delays_nobody(cluster: ValkeyCluster) -> None:
    watch = Watch(cluster)
    await watch.look()
    victim = cluster.named(watch.show()["shards"][1]["primary"])
    victim.send(signal.SIGSTOP)
    began = time.monotonic()
    await watch.look()
    assert time.monotonic() - began < 0.6
    answers = {server["name"]: server["timeouts"] for server in watch.show()["servers"]}
    assert answers.pop(victim.name) == 1
    assert set(answers.values()) == {0}
    await watch.until(lambda standing: bool(watch.kinds("failover")))
    assert "does not answer within 300 ms" in watch.kinds("failover")[0]
    victim.send(signal.SIGCONT)
    await watch.until(holds)


async def test_a_killed_replica_is_a_risk_only(cluster: ValkeyCluster) -> None:
    watch = Watch(cluster)
    await watch.look()
    victim = cluster.named(watch.show()["shards"][2]["replicas_linked"][0])
    victim.send(signal.SIGKILL)
    assert await watch.look() is Adherence.AT_RISK
    assert watch.show()["slots_served"] == 16384
    victim.start()
    seen = await watch.until(holds)
    assert Adherence.BROKEN not in seen
    assert watch.kinds("failover") == []


async def test_a_shard_that_lost_both_servers_is_broken(cluster: ValkeyCluster) -> None:
    watch = Watch(cluster)
    await watch.look()
    shard = watch.show()["shards"][0]
    for name in (shard["primary"], *shard["replicas_linked"]):
        cluster.named(name).send(signal.SIGKILL)
    await watch.look()
    standing = watch.service.standing(datetime.now(UTC))
    assert standing.adherence is Adherence.BROKEN
    assert f"slots {shard['slots']} ({shard['slots_count']} of 16384) are not served" in standing.why
    assert watch.show()["slots_served"] == 16384 - shard["slots_count"]
    for name in (shard["primary"], *shard["replicas_linked"]):
        cluster.named(name).start()
    await watch.until(holds)


async def test_all_servers_dead_is_broken(cluster: ValkeyCluster) -> None:
    watch = Watch(cluster)
    for server in cluster.servers:
        server.send(signal.SIGKILL)
    assert await watch.look() is Adherence.BROKEN
    assert "0 of 6 servers answer" in str(watch.show()["standing"])


async def test_all_servers_silent_is_not_measured(cluster: ValkeyCluster) -> None:
    watch = Watch(cluster)
    for server in cluster.servers:
        server.send(signal.SIGSTOP)
    assert await watch.look() is Adherence.NOT_MEASURED
    assert await watch.look() is Adherence.NOT_MEASURED


@pytest.mark.parametrize("credentials", [{"password": "hunter2-of-another-site"}, {"password": None}, {"user": "bob"}])
async def test_wrong_credentials_are_not_measured_and_never_told(
    cluster: ValkeyCluster, credentials: dict[str, str | None], caplog: pytest.LogCaptureFixture
) -> None:
    watch = Watch(cluster, **credentials)
    assert await watch.look() is Adherence.NOT_MEASURED
    text = f"{watch.show()} {watch.events} {caplog.text} {watch.service._watcher!r}"
    assert "refuses our user, password or commands" in text
    assert "hunter2" not in text
    assert cluster.password not in text


async def test_a_user_that_can_read_no_session_is_enough(cluster: ValkeyCluster) -> None:
    rights = "on >only-for-this-test resetkeys -@all +role +cluster|nodes +cluster|info +info"
    for server in cluster.servers:
        server.client().execute_command("ACL", "SETUSER", "siaga-watch", *rights.split())
    watch = Watch(cluster, user="siaga-watch", password="only-for-this-test")  # noqa: S106
    assert await watch.look() is Adherence.HOLDS


async def test_a_user_without_the_rights_is_not_measured(cluster: ValkeyCluster) -> None:
    for server in cluster.servers:
        server.client().execute_command("ACL", "SETUSER", "siaga-blind", "on", ">only-for-this-test", "-@all")
    watch = Watch(cluster, user="siaga-blind", password="only-for-this-test")  # noqa: S106
    assert await watch.look() is Adherence.NOT_MEASURED


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"-ERR unknown command 'AUTH', with args beginning with: 'SECRET'\r\n",
        b"-LOADING Valkey is loading the dataset in memory\r\n",
        b"+OK\r\n" + b"*1\r\n" * 5000,
        b"+OK\r\n" + b":1\r\n" * 4,
        b"+OK\r\n*1\r\n$6\r\nmaster\r\n" + b"$5\r\na b c\r\n" * 3,
        b"",
    ],
    ids=["http", "echo", "loading", "nested", "numbers", "words", "closed"],
)
async def test_a_server_that_answers_nonsense_spoils_only_itself(cluster: ValkeyCluster, reply: bytes) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"AUTH")
        writer.write(reply.replace(b"SECRET", cluster.password.encode()))
        writer.close()

    impostor = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = impostor.sockets[0].getsockname()[1]
    first, *others = cluster.servers
    watch = Watch(replace(cluster, servers=(replace(first, port=port), *others)))
    await watch.look()
    answers = {server["name"]: server["answer"] for server in watch.show()["servers"]}
    assert answers.pop(first.name) == "failed"
    assert set(answers.values()) == {"answered"}
    assert cluster.password not in f"{watch.show()} {watch.events}"
    impostor.close()


async def test_a_server_outside_any_cluster_is_not_measured(cluster: ValkeyCluster, lone_server: ValkeyServer) -> None:
    watch = Watch(replace(cluster, servers=(lone_server,), password=lone_server.password))
    assert await watch.look() is Adherence.NOT_MEASURED
    assert "does not answer like a member of a Valkey cluster" in str(watch.show()["standing"])
