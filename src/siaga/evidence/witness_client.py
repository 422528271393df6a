"""Talks to the witness over its Unix socket."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from siaga.errors import Refused, Unreachable
from siaga.evidence.cosigning import Refusal
from siaga.evidence.notes import successors
from siaga.evidence.signatures import Checkpoint, Key, parse_checkpoint, parse_key

DEADLINE_S = 5.0
T = TypeVar("T")
_ANSWER_BYTES_MAX = 1 << 22
_HINT = "The log goes on; `siaga up` starts the witness again, and what waits is cosigned then."


class WitnessRefused(Refused):
    """The witness does not cosign this checkpoint."""

    def __init__(self, refusal: Refusal, why: str) -> None:
        super().__init__(
            f"the witness refuses ({refusal}): {why}",
            hint="Keep the evidence directory as it is; compare it with a backup and the witness's last checkpoint.",
        )
        self.refusal = refusal


@dataclass(frozen=True, slots=True)
class WitnessKey:
    """The witness's present key, and how it came to it."""

    key: Key
    handovers: tuple[str, ...]

    def follows(self, pinned: Key) -> tuple[Key, ...]:
        """The keys from the pinned one to the present one; empty when it is another witness's."""
        chain = successors(pinned, self.handovers)
        return chain if chain[-1] == self.key else ()


@dataclass(frozen=True, slots=True)
class LastSeen:
    """What the witness says of itself and of a log."""

    witness: WitnessKey
    checkpoint: Checkpoint | None
    """The last one it cosigned."""
    refusal: str
    """Why it refused a checkpoint that nobody has acknowledged yet; empty when there is none."""


class WitnessClient:
    """One request, one connection: a witness that was restarted in between is simply reached again.

    Unreachable when it doesn't answer in time, or can't work (disk full, memory damaged).
    """

    def __init__(self, socket: Path, *, deadline_s: float = DEADLINE_S) -> None:
        self._socket = socket
        self._deadline_s = deadline_s

    async def public_key(self) -> WitnessKey:
        """The key it signs with now."""
        return await self._ask({"op": "public_key"}, _key)

    async def rotate_key(self, old: Key) -> WitnessKey:
        """Have it go over from `old` to a new key; asked twice it does so once."""
        return await self._ask({"op": "rotate_key", "old": old.text}, _key)

    async def last(self, origin: str) -> LastSeen:
        """Its key, and what it saw last of this log."""
        return await self._ask({"op": "last", "origin": origin}, _last)

    async def acknowledge(self, origin: str) -> None:
        """Have it forget the latest refusal of this log, since a person has looked."""
        await self._ask({"op": "acknowledge", "origin": origin}, dict)

    async def cosign(
        self, note: str, key: Key, *, old_size: int, proof: Sequence[bytes], handovers: Sequence[str], epoch: int
    ) -> str:
        """The note with its cosignature below; WitnessRefused when it doesn't extend what was seen."""
        request = {
            "op": "cosign",
            "note": note,
            "key": key.text,
            "old_size": old_size,
            "proof": [base64.b64encode(node).decode() for node in proof],
            "handovers": list(handovers),
            "epoch": epoch,
        }
        return await self._ask(request, lambda answer: str(answer["note"]))

    async def _ask(self, request: dict[str, Any], read: Callable[[dict[str, Any]], T]) -> T:
        try:
            async with asyncio.timeout(self._deadline_s):
                answer = json.loads(await self._exchange(json.dumps(request).encode() + b"\n"))
            if "refused" in answer:
                raise WitnessRefused(Refusal(answer["refused"]), str(answer["why"]))
            if "error" in answer:
                raise Unreachable(f"the witness can't work: {answer['error']}", hint=_HINT)
            return read(answer)
        except (OSError, TimeoutError) as error:
            raise Unreachable(f"the witness does not answer ({type(error).__name__})", hint=_HINT) from error
        except (ValueError, KeyError, TypeError) as error:
            raise Unreachable("the witness's answer can't be understood", hint=_HINT) from error

    async def _exchange(self, request: bytes) -> bytes:
        reader, writer = await asyncio.open_unix_connection(str(self._socket), limit=_ANSWER_BYTES_MAX)
        try:
            writer.write(request)
            await writer.drain()
            return await reader.readline()
        finally:
            writer.close()


def _key(answer: dict[str, Any]) -> WitnessKey:
    return WitnessKey(parse_key(answer["key"]), tuple(map(str, answer["handovers"])))


def _last(answer: dict[str, Any]) -> LastSeen:
    note, refusal = answer["note"], answer["refusal"]
    return LastSeen(
        witness=_key(answer),
        checkpoint=parse_checkpoint(note) if note is not None else None,
        refusal=f"{refusal['refusal']}: {refusal['why']}" if refusal else "",
    )
