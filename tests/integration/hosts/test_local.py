"""Commands on this machine, under the event loop that the controller runs on."""

from __future__ import annotations

import asyncio

import uvloop

from siaga.hosts.local import LocalHost

HOST = LocalHost()


def test_a_command_that_ends_before_it_reads_is_no_error() -> None:
    async def many(stdin: bytes) -> set[int]:
        return {
            done.exit_code
            for _ in range(10)
            for done in await asyncio.gather(*(HOST.run(["true"], deadline_s=30, stdin=stdin) for _ in range(4)))
        }

    assert uvloop.run(many(b"")) == {0}
    assert uvloop.run(many(b"x" * 1_000_000)) == {0}


def test_a_command_reads_all_that_it_is_given() -> None:
    given = b"line\n" * 100_000
    assert uvloop.run(HOST.run(["cat"], deadline_s=30, stdin=given)).stdout == given
    assert uvloop.run(HOST.run(["cat"], deadline_s=30)).stdout == b""
