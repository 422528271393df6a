"""A million records verified: over the stored bytes, and by the naive way that parses each of them."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from benchmarks.evidence.appending import RECORD
from siaga.evidence.chain import Walk, beginning
from siaga.evidence.document import Stamp, Unnumbered
from siaga.evidence.keys import SigningKey
from siaga.evidence.notes import checkpoint_text, written
from siaga.evidence.segments import Segments
from siaga.evidence.signatures import COSIGNATURE, ED25519
from siaga.evidence.verify_export import verify

ORIGIN = "siaga/benchmark/1"
CHECKPOINT_RECORDS = 5000
"""As often as a busy platform takes one."""
SEGMENT_RECORDS = 40_000


def build(directory: Path, records: int) -> tuple[SigningKey, SigningKey]:
    """Evidence as the log and the witness leave it, written at once; returns both keys."""
    log_key = SigningKey(ORIGIN, ED25519, Ed25519PrivateKey.generate())
    witness_key = SigningKey("witness.benchmark", COSIGNATURE, Ed25519PrivateKey.generate())
    (directory / "log").mkdir(parents=True)
    (directory / "origin").write_text(f"{ORIGIN}\n")
    walk = Walk(beginning(ORIGIN))
    unnumbered = Unnumbered.of(RECORD, Stamp("2026-11-23T04:00:00.000Z", 1234.567, "0c2a5f0e-boot"), epoch=1)
    with (directory / "checkpoints.jsonl").open("w") as checkpoints:
        for first in range(0, records, SEGMENT_RECORDS):
            with (directory / f"log/{first:012d}.jsonl").open("wb") as segment:
                for number in range(first, min(first + SEGMENT_RECORDS, records)):
                    segment.write(walk.add(unnumbered.numbered(number))[0])
                    if walk.size % CHECKPOINT_RECORDS == 0 or walk.size == records:
                        text = checkpoint_text(ORIGIN, walk.size, walk.position.root, walk.chain)
                        note = written(text, [key.sign(text, 1_796_000_000) for key in (log_key, witness_key)])
                        checkpoints.write(json.dumps({"note": note, "size": walk.size, "time": ""}) + "\n")
    return log_key, witness_key


def ours_s(directory: Path, keys: tuple[SigningKey, SigningKey], records: int) -> float:
    """Chain, tree, every checkpoint with both signatures."""
    begun_s = time.perf_counter()
    report = verify(Segments(directory), [keys[0].public], [keys[1].public])
    took_s = time.perf_counter() - begun_s
    assert (report.exit_code, report.size) == (0, records), report.words()
    return took_s


def naive_s(directory: Path, records: int) -> float:
    """The chain alone, over each record parsed and written again."""
    begun_s = time.perf_counter()
    chain = beginning(ORIGIN).chain
    count = 0
    for path in sorted((directory / "log").glob("*.jsonl")):
        with path.open("rb") as file:
            for line in file:
                document = json.loads(line[65:])
                content = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
                chain = hashlib.sha256(chain + hashlib.sha256(b"\x00" + content).digest()).digest()
                assert chain.hex().encode() == line[:64], count
                count += 1
    assert count == records
    return time.perf_counter() - begun_s
