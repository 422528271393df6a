"""The witness: a process of its own that cosigns what only ever grows (decision 21).

Run by the keeper as `python -m siaga.evidence.witness STATE_DIR SOCKET`; standard library and `cryptography` only.
It holds the last checkpoint it cosigned for each log, on disk before it answers, and cosigns the next one only
with the proof that nothing seen was changed. Whoever rewrites the log has to explain himself to the witness too.

Control: one JSON object a line over a Unix socket that its user alone may open; answers are one JSON object a line.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import fcntl
import json
import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from siaga.errors import BadInput, Exit, Refused, SiagaError
from siaga.evidence.cosigning import REMEMBERED, NotCosigned, Refusal, Request, Seen, judge
from siaga.evidence.keys import KeyRing, open_ring
from siaga.evidence.notes import log_checkpoint, signature_of, written
from siaga.evidence.signatures import COSIGNATURE, BadNote, parse_checkpoint, parse_key, parse_note
from siaga.hosts.local import write_and_rename

NAME = "siaga/witness"
"""Name of the witness's key; its fingerprint tells one witness from another."""

IDLE_S_MAX = 60.0
"""A client that says nothing for so long is let go."""

LINE_BYTES_MAX = 1 << 20
_FORMAT = 1
_REMEDY = "Restore the witness's directory; without a backup remove it, and accept the new witness by its fingerprint."


@dataclass(frozen=True, slots=True)
class Cosigned:
    """The state of one log: its last cosigned checkpoint, and the key pinned for it."""

    note: str
    seen: Seen


class Memory:
    """What the witness knows, in one file; what was cosigned is protected by its own signature."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.logs: dict[str, Cosigned] = {}
        self.refusals: dict[str, dict[str, Any]] = {}

    def begin(self) -> None:
        """Remember nothing, at the very first start."""
        self._save({}, {})

    def load(self, ring: KeyRing) -> None:
        """Read it; BadInput when it is damaged or gone: a witness without memory would cosign anything."""
        try:
            self._load(json.loads(self._path.read_bytes()), ring)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise BadInput(f"the witness's memory {self._path} is damaged: {error}", hint=_REMEDY) from error

    def _load(self, document: dict[str, Any], ring: KeyRing) -> None:
        if document["format"] != _FORMAT:
            raise ValueError(f"format {document['format']}, expected {_FORMAT}")
        for origin, entry in document["logs"].items():
            note, key = entry["note"], parse_key(entry["key"])
            if parse_note(note).signed_by(reversed(ring.public)) is None:
                raise BadNote(f"the last checkpoint of `{origin}` does not bear this witness's signature")
            self.logs[origin] = Cosigned(note, Seen(log_checkpoint(note, key), key, int(entry["epoch"])))
        self.refusals = dict(document["refusals"])

    def cosigned(self, origin: str, cosigned: Cosigned) -> None:
        """Keep it, on disk when this returns; OSError leaves what was."""
        logs = {**self.logs, origin: cosigned}
        self._save(logs, self.refusals)
        self.logs = logs

    def refused(self, origin: str, refusal: dict[str, Any] | None) -> None:
        """Keep the latest refusal of a log, or forget it (None). A full disk keeps it until the process ends."""
        self.refusals = {name: entry for name, entry in self.refusals.items() if name != origin}
        if refusal is not None:
            self.refusals[origin] = refusal
        with contextlib.suppress(OSError):
            self._save(self.logs, self.refusals)

    def _save(self, logs: Mapping[str, Cosigned], refusals: Mapping[str, Any]) -> None:
        entries = {
            origin: {"note": log.note, "key": log.seen.key.text, "epoch": log.seen.epoch}
            for origin, log in logs.items()
        }
        document = {"format": _FORMAT, "logs": entries, "refusals": refusals}
        write_and_rename(self._path, json.dumps(document, indent=1).encode())


class Witness:
    """Answers one request after the other; nothing happens between looking and remembering."""

    def __init__(self, directory: Path) -> None:
        """Open key and memory, made at the very first start; BadInput when one of them is missing or damaged."""
        self._memory = Memory(directory / "memory.json")
        if not any((directory / name).exists() for name in ("witness.key", "witness.pub")):
            # Before the key: a key without memory is one that was lost.
            self._memory.begin()
        self._ring = open_ring(directory, "witness", NAME, COSIGNATURE)
        self._memory.load(self._ring)

    def answer(self, request: Any, now_s: int) -> dict[str, Any]:
        """Carry out one request; KeyError, TypeError or ValueError when it can't be understood."""
        match request["op"]:
            case "public_key":
                return self._public_key()
            case "rotate_key":
                if request["old"] == self._ring.current.public.text:
                    self._ring = self._ring.switch(self._ring.prepare(now_s))
                return self._public_key()
            case "last":
                return self._last(str(request["origin"]))
            case "acknowledge":
                self._memory.refused(str(request["origin"]), None)
                return {}
            case "cosign":
                return self._cosign(_request(request), now_s)
        raise ValueError(f"no such request: {request['op']!r}")

    def _public_key(self) -> dict[str, Any]:
        return {"key": self._ring.current.public.text, "handovers": self._ring.handovers}

    def _last(self, origin: str) -> dict[str, Any]:
        log = self._memory.logs.get(origin)
        refusal = self._memory.refusals.get(origin)
        return {"note": log.note if log else None, "refusal": refusal, **self._public_key()}

    def _cosign(self, request: Request, now_s: int) -> dict[str, Any]:
        checkpoint = parse_checkpoint(request.note)
        log = self._memory.logs.get(checkpoint.origin)
        verdict = judge(log.seen if log else None, request)
        if isinstance(verdict, NotCosigned):
            return self._refuse(checkpoint.origin, request.note, verdict, now_s)
        text = checkpoint.note.text.decode()
        # Only the log's own signature goes with ours: whatever else stood below the note is not for us to keep.
        signatures = (signature_of(checkpoint.note, verdict.key), self._ring.current.sign(text, now_s))
        cosigned = Cosigned(written(text, signatures), verdict)
        self._memory.cosigned(checkpoint.origin, cosigned)
        return {"note": cosigned.note}

    def _refuse(self, origin: str, note: str, verdict: NotCosigned, now_s: int) -> dict[str, Any]:
        if verdict.refusal in REMEMBERED and origin in self._memory.logs:
            entry = {"refusal": verdict.refusal, "why": verdict.why, "time_s": now_s, "note": note}
            self._memory.refused(origin, entry)
        return {"refused": verdict.refusal, "why": verdict.why}


def _request(document: Mapping[str, Any]) -> Request:
    return Request(
        note=str(document["note"]),
        old_size=_whole(document, "old_size"),
        proof=tuple(base64.b64decode(node, validate=True) for node in document["proof"]),
        key=parse_key(document["key"]),
        handovers=tuple(map(str, document["handovers"])),
        epoch=_whole(document, "epoch"),
    )


def _whole(document: Mapping[str, Any], field: str) -> int:
    value = document[field]
    if type(value) is not int or value < 0:
        raise ValueError(f"field {field}: expected a whole number, 0 or more")
    return value


# The process --------------------------------------------------------------------------------------------------------


def reply(witness: Witness, line: bytes, now_s: int) -> dict[str, Any]:
    """Answer one line, whatever it holds."""
    try:
        return witness.answer(json.loads(line), now_s)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return {"refused": Refusal.BAD_REQUEST, "why": f"request not understood: {type(error).__name__}: {error}"}
    except SiagaError as error:
        return {"error": error.message}
    except OSError as error:
        return {"error": f"the witness can't write its memory: {error.strerror}"}


async def serve(directory: Path, socket: Path) -> None:
    """Cosign until a signal ends us."""
    # Key, memory and socket are nobody else's from their first moment on.
    os.umask(0o077)
    directory.mkdir(parents=True, exist_ok=True)
    lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Refused("another witness holds this state directory", hint="End it, or use another one.") from None
    witness = _Opened(directory)
    done = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, done.set)

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, TimeoutError, ValueError, asyncio.CancelledError):
            while line := await asyncio.wait_for(reader.readline(), IDLE_S_MAX):
                writer.write(json.dumps(witness.reply(line)).encode() + b"\n")
                await asyncio.wait_for(writer.drain(), IDLE_S_MAX)
        writer.close()

    socket.unlink(missing_ok=True)
    server = await asyncio.start_unix_server(converse, path=str(socket), limit=LINE_BYTES_MAX)
    await done.wait()
    server.close()
    socket.unlink(missing_ok=True)


class _Opened:
    """The witness once its directory can be read: until then it says why it can't, instead of dying unheard."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._witness: Witness | None = None
        try:
            self._witness = Witness(directory)
        except (SiagaError, OSError) as error:
            print(error, file=sys.stderr, flush=True)

    def reply(self, line: bytes) -> dict[str, Any]:
        try:
            self._witness = self._witness or Witness(self._directory)
        except SiagaError as error:
            return {"error": error.message}
        except OSError as error:
            return {"error": f"the witness can't open its directory: {error.strerror}"}
        return reply(self._witness, line, int(time.time()))


def main(directory: str, socket: str) -> int:
    """Entry point of the process."""
    try:
        asyncio.run(serve(Path(directory), Path(socket)))
    except SiagaError as error:
        print(error, file=sys.stderr)
        return int(error.exit_code)
    return int(Exit.DONE)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
