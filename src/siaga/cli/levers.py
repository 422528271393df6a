"""`siaga halt` and `siaga resume`: the safety lever."""

from __future__ import annotations

import fcntl
import getpass
import os
from datetime import UTC, datetime
from typing import Annotated

from cyclopts import Parameter

from siaga.cli import ask, output
from siaga.cli.output import Json
from siaga.controller.levers_file import halt_while_dead
from siaga.errors import Exit, Unreachable
from siaga.platform import account, lifecycle

Reason = Annotated[str, Parameter(help="Goes into the evidence, with your name.")]


def halt(*, reason: Reason, json: Json = False) -> int:
    """Stop every automatic act at its next step; users are served on, and probes go on.

    Works with the controller dead: the next one starts halted.

    Examples
    --------
    siaga halt --reason "ledger figures look wrong"
    """
    try:
        halted = str(ask.post("/v1/halt", {"reason": reason})["halted"])
    except Unreachable as error:
        halted = _halt_while_dead(reason, error)
    _say({"halted": halted}, f"halted: {halted}", json)
    return Exit.DONE


def resume(*, reason: Reason, json: Json = False) -> int:
    """Let automatic acts go on from where they were held.

    Examples
    --------
    siaga resume --reason "figures were a display error"
    """
    ask.post("/v1/resume", {"reason": reason})
    _say({"halted": ""}, "automatic acts go on", json)
    return Exit.DONE


def _halt_while_dead(reason: str, error: Unreachable) -> str:
    directory = lifecycle.required(account.home()).place.state / "controller"
    lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        # The lock proves that it is dead: one that only hangs would write over what we write.
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise error from None
    else:
        state = halt_while_dead(directory / "levers.json", reason, getpass.getuser(), datetime.now(UTC))
        return str(state.halt)
    finally:
        os.close(lock)


def _say(document: dict[str, str], words: str, json: bool) -> None:
    if json:
        output.document(document)
    else:
        print(words)
