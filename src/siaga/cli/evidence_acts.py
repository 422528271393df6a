"""What people do to the evidence through the controller: checkpoints, keys, the witness, retention."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal

from cyclopts import Parameter

from siaga.cli import ask, output
from siaga.cli.output import Json
from siaga.errors import Exit

Reason = Annotated[str, Parameter(help="Goes into the evidence, with your name.")]


def checkpoint(*, json: Json = False) -> int:
    """Have all that is recorded signed and witnessed at once, as at a milestone.

    Exit code 5 when the witness is away, 4 when it refuses.

    Examples
    --------
    siaga evidence checkpoint
    """
    done = ask.post("/v1/evidence/checkpoint")
    if json:
        output.document(done)
    else:
        print(f"{done['size']:,} records are witnessed, root {done['root']}")
    return Exit.DONE


def rotate(role: Literal["log", "witness"], *, reason: Reason, json: Json = False) -> int:
    """Sign with a new key from now on; the chain goes on, and an auditor follows by the hand-over in it.

    Examples
    --------
    siaga evidence rotate log --reason "yearly"
    """
    done = ask.post(f"/v1/evidence/keys/{role}/rotate", {"reason": reason})
    if json:
        output.document(done)
    else:
        print(f"the {role} signs with {done['key']}")
    return Exit.DONE


def acknowledge(*, reason: Reason, json: Json = False) -> int:
    """Say that you have looked into what the witness refused; the clause SUM is broken until somebody did.

    Examples
    --------
    siaga evidence acknowledge --reason "restored from the backup of 03:00, records 812 to 830 are lost"
    """
    done = ask.post("/v1/evidence/refusal/acknowledge", {"reason": reason})
    if json:
        output.document(done)
    else:
        print("acknowledged")
    return Exit.DONE


def accept(fingerprint: str, *, reason: Reason, json: Json = False) -> int:
    """Trust another witness than the one we know, by the fingerprint of its key.

    Examples
    --------
    siaga evidence accept 5d41402abc4b2a76 --reason "the witness's host was replaced, CHG-77"
    """
    done = ask.post("/v1/evidence/witness/accept", {"fingerprint": fingerprint, "reason": reason})
    if json:
        output.document(done)
    else:
        print(f"accepted: {done['accepted']}")
    return Exit.DONE


def prune(
    before: Annotated[datetime, Parameter(help="A day or time; without a zone it is UTC.")],
    *,
    dry_run: Annotated[bool, Parameter(negative="", help="Say what would be removed, and do nothing.")] = False,
    json: Json = False,
) -> int:
    """Remove whole witnessed segments that are older; the chain stays verifiable from there. This can't be undone.

    Examples
    --------
    siaga evidence prune 2021-01-01 --dry-run
    """
    moment = before if before.tzinfo else before.replace(tzinfo=UTC)
    done = ask.post("/v1/evidence/prune", {"before": moment.isoformat(), "dry_run": dry_run})
    if json:
        output.document(done)
    elif done["first"] is None:
        print("nothing is that old, whole and witnessed")
    else:
        print(f"the log {'would begin' if dry_run else 'begins'} with record {done['first']:,}")
    return Exit.DONE
