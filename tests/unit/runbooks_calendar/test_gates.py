"""A site's gates: real programs on this host, a real HTTP server, and everything they can do wrong."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from siaga.errors import BadInput, Exit, SiagaError
from siaga.hosts.local import LocalHost
from siaga.hosts.model import Host
from siaga.runbooks.gates import OUTPUT_BYTES_MAX, Hands, gated, tidied, with_gates
from siaga.runbooks.http import HttpCaller
from siaga.runbooks.model import NOTHING_TO_UNDO, Approval, Context, Document, Manner, Runbook, Step
from siaga.runbooks.order import Order
from siaga.runbooks.plan import plan, shadow
from siaga.runbooks.run import Asked, RunState
from siaga.runbooks.words import APPROVE, Word, objection
from siaga.site.schedule import Gate
from siaga.sop.clauses import ClauseId


async def done(context: Context) -> None: ...


RUNBOOK = Runbook(
    "update-database",
    ClauseId.PMT_2_1,
    "Switch.",
    steps=(
        Step("prepare", done, NOTHING_TO_UNDO, 10),
        Approval("go", 60),
        Step("switch", done, NOTHING_TO_UNDO, 10, point_of_no_return=True),
    ),
)
SECRET = "s3cret-0f-the-c4bal"


@dataclass
class Here:
    """A context of a step."""

    manner: Manner = Manner.REAL
    run: str = "update-database/2026-11-25"
    key: str = "k"
    epoch: int = 1
    parameters: Mapping[str, Any] = field(default_factory=lambda: {"plan": "18.6"})
    results: Mapping[str, Document] = field(default_factory=dict)

    def say(self, progress: str) -> None: ...


def hosts(name: str) -> Host:
    if name != "local":
        raise BadInput(f"host `{name}` is not known", hint="Name another.")
    return LocalHost()


async def secret(name: str) -> str:
    if name != "cdn-token":
        raise BadInput(f"secret `{name}` is not known", hint="Store it.")
    return SECRET


HANDS = Hands(hosts, HttpCaller(), secret)


def gate(**fields: Any) -> Gate:
    return Gate.model_validate({"name": "own", "runbook": "update-database", "before": "switch", **fields})


async def ask(own: Gate) -> Document | None:
    made = next(step for step in with_gates(RUNBOOK, [own], HANDS).steps if step.name == "gate own")
    assert isinstance(made, Step)
    return await made.act(Here())


async def closed(own: Gate) -> str:
    with pytest.raises(SiagaError) as refusal:
        await ask(own)
    assert refusal.value.exit_code is Exit.REFUSED
    assert SECRET not in str(refusal.value)
    return refusal.value.message


def shell(script: str, **fields: Any) -> Gate:
    return gate(kind="exec", argv=["sh", "-c", script], **fields)


# Places -------------------------------------------------------------------------------------------------


def test_gates_stand_before_and_after_their_steps_in_the_order_of_the_file() -> None:
    own = [
        gate(name="one", kind="approval"),
        gate(name="two", kind="exec", argv=["true"]),
        gate(name="three", kind="approval", before=None, after="switch"),
        gate(name="four", kind="approval", before="prepare"),
    ]
    names = [step.name for step in with_gates(RUNBOOK, own, HANDS).steps]
    assert names == ["gate four", "prepare", "go", "gate one", "gate two", "switch", "gate three"]


def test_no_gate_takes_a_step_away_or_changes_one() -> None:
    own = [gate(name=f"g{n}", kind="approval", before=step.name) for n, step in enumerate(RUNBOOK.steps)]
    kept = tuple(step for step in with_gates(RUNBOOK, own, HANDS).steps if not step.name.startswith("gate "))
    assert kept == RUNBOOK.steps


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"runbook": "update-databse"}, 'runbook = "update-databse": no such runbook, did you mean `update-database`?'),
        ({"before": "swich"}, "no such step of runbook `update-database`, did you mean `switch`?"),
        ({"before": None, "after": "zzz"}, "expected one of prepare, go, switch"),
    ],
)
def test_a_gate_at_an_unknown_place_is_refused_with_the_nearest_name(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput) as refusal:
        gated([RUNBOOK], [gate(kind="approval", **fields)], HANDS)
    assert words in refusal.value.message


def test_a_gate_never_takes_the_name_of_a_step() -> None:
    runbook = Runbook("update-database", ClauseId.PMT_2_1, "", (Step("gate own", done, NOTHING_TO_UNDO, 1),))
    with pytest.raises(BadInput, match="a step `gate own` of its own"):
        with_gates(runbook, [gate(kind="approval", before="gate own")], HANDS)


def test_gates_of_other_runbooks_change_nothing() -> None:
    assert with_gates(RUNBOOK, [gate(kind="approval", runbook="other")], HANDS) == RUNBOOK


def test_tickets_and_approvals_become_approvals() -> None:
    ticket, approval = (
        with_gates(RUNBOOK, [own], HANDS).steps[2]
        for own in (gate(kind="ticket", pattern="CHG-[0-9]+", people=2), gate(kind="approval", timeout_s=5))
    )
    assert ticket == Approval("gate own", 1800, people=2, wants_ticket=True, ticket_pattern="CHG-[0-9]+")
    assert approval == Approval("gate own", 5)


@pytest.mark.parametrize(
    ("ticket", "words"),
    [
        ("CHG-812", ""),
        (" CHG-812 ", ""),
        ("", "wants a change ticket"),
        ("CHG-812; rm", "expected one like `CHG-[0-9]+`"),
        ("XCHG-812", "expected one like"),
        ("CHG-" + "8" * 100, "at most 80"),
    ],
)
def test_a_ticket_has_to_match_as_a_whole(ticket: str, words: str) -> None:
    own = gate(kind="ticket", pattern="CHG-[0-9]+", before="prepare")
    runbook = with_gates(RUNBOOK, [own], HANDS)
    order = Order("r/1", runbook.name, {}, Manner.REAL, plan(runbook, {}), "rina", "a test", 0.0, 0.0)
    state = RunState(tuple(step.name for step in runbook.steps), approvals={"gate own": Asked(at=0.0)})
    said = Word(1, "r/1", APPROVE, "ani", 1.0, {"step": "gate own", "ticket": ticket})
    for judged_by in (runbook, shadow(order.plan)):
        found = objection(order, judged_by, state, said)
        assert words in found
        assert bool(found) == bool(words)


# Programs -----------------------------------------------------------------------------------------------


async def test_exit_code_0_is_yes_and_the_program_reads_what_it_is_about(tmp_path: Path) -> None:
    heard = tmp_path / "heard"
    assert await ask(gate(kind="exec", argv=["sh", "-c", f"cat > {heard}; echo fine"])) == {"exit_code": 0}
    assert '"run": "update-database/2026-11-25"' in heard.read_text()
    assert '"plan": "18.6"' in heard.read_text()


async def test_any_other_exit_code_is_no_with_the_end_of_what_was_printed() -> None:
    message = await closed(shell("echo checking; echo the last backup is 3 h old >&2; exit 7"))
    assert "ended with exit code 7, 0 wanted: checking the last backup is 3 h old" in message


async def test_words_of_a_gate_are_arguments_and_never_a_shells_text() -> None:
    assert "$(exit 0); a b" in await closed(
        gate(kind="exec", argv=["sh", "-c", 'echo "$1"; exit 1', "x", "$(exit 0); a b"])
    )


async def test_a_program_that_is_not_there_or_was_killed_has_not_passed() -> None:
    assert "exit code 127" in await closed(gate(kind="exec", argv=["no-such-program-here"]))
    assert "exit code 137" in await closed(shell("kill -9 $$"))
    assert "host `mars` is not known" in await closed(gate(kind="exec", argv=["true"], host="mars"))


async def test_a_program_that_hangs_is_ended_with_its_children() -> None:
    message = await closed(shell("sleep 60 & sleep 60", deadline_s=0.3))
    assert "did not end within 0.3 s" in message


async def test_a_program_that_never_stops_printing_fills_no_memory() -> None:
    endless = f"{sys.executable} -c \"import sys\nfor _ in range(3000): sys.stdout.write('y' * 10000)\nsys.exit(3)\""
    message = await closed(shell(endless))
    assert "exit code 3" in message
    assert len(message) < OUTPUT_BYTES_MAX + 200


@pytest.mark.parametrize(
    "said",
    [
        f"password={SECRET}",
        f"PGPASSWORD: {SECRET}",
        f'{{"api_key": "{SECRET}"}}',
        f"Authorization: Bearer {SECRET}",
        f"postgresql://app:{SECRET}@db/wallet",
        f"x-auth-token = {SECRET}",
    ],
)
async def test_what_looks_like_a_secret_is_blotted_out(said: str) -> None:
    assert "exit code 1" in await closed(shell(f"echo '{said}'; exit 1"))
    assert SECRET not in tidied(said.encode())


async def test_what_a_program_prints_when_it_passes_is_kept_nowhere() -> None:
    assert await ask(shell(f"echo {SECRET}")) == {"exit_code": 0}


def test_foreign_bytes_are_made_readable() -> None:
    assert tidied(b"\xff\x00\x1b[31mred\n\n") == ": \ufffd??[31mred"
    assert tidied(b" \n") == ""


# URLs ---------------------------------------------------------------------------------------------------


class Server:
    """Answers as told, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked = b""
        self.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
        self.drip_s = 0.0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked = await reader.readuntil(b"\r\n\r\n")
        for byte in self.answer if self.drip_s else ():
            writer.write(bytes([byte]))
            await asyncio.sleep(self.drip_s)
        writer.write(b"" if self.drip_s else self.answer)
        writer.close()


@pytest.fixture
async def server() -> AsyncIterator[tuple[Server, str]]:
    own = Server()
    listener = await asyncio.start_server(own.serve, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    yield own, f"http://127.0.0.1:{port}/ok?token={SECRET}"
    listener.close()


def url_gate(url: str, **fields: Any) -> Gate:
    return gate(kind="http", url=url, **{"deadline_s": 5, **fields})


async def test_the_expected_status_is_yes_and_secret_headers_are_sent_by_name(server: tuple[Server, str]) -> None:
    own, url = server
    assert await ask(url_gate(url, method="POST", secret_headers={"Authorization": "cdn-token"})) == {"status": 200}
    assert own.asked.startswith(b"POST /ok")
    assert SECRET.encode() in own.asked


@pytest.mark.parametrize("status", [b"503 Busy", b"302 Found\r\nLocation: /fine", b"204 None"])
async def test_any_other_status_is_no_and_no_redirect_is_followed(server: tuple[Server, str], status: bytes) -> None:
    own, url = server
    own.answer = b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n"
    assert f"answered {status[:3].decode()}, 200 wanted" in await closed(url_gate(url))


async def test_an_answer_without_end_is_not_waited_for(server: tuple[Server, str]) -> None:
    own, url = server
    own.drip_s = 0.1
    assert "no answer within 0.3 s" in await closed(url_gate(url, deadline_s=0.3))


async def test_no_answer_and_no_http_and_a_secret_that_is_missing_are_no(server: tuple[Server, str]) -> None:
    own, url = server
    own.answer = b"SSH-2.0-OpenSSH\r\n\r\n"
    assert "no answer (" in await closed(url_gate(url))
    assert "no answer (" in await closed(url_gate("http://127.0.0.1:1/"))
    assert "secret `other` is not known" in await closed(url_gate(url, secret_headers={"X-Key": "other"}))
