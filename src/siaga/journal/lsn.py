"""Positions in the write-ahead log: PostgreSQL's `16/B374D848` as one integer, so that they compare and subtract."""

from __future__ import annotations

import re

from siaga.errors import BadInput

_FORM = re.compile(r"([0-9A-Fa-f]{1,8})/([0-9A-Fa-f]{1,8})")


def parse(text: str) -> int:
    """The integer of a written position; BadInput when it isn't one."""
    found = _FORM.fullmatch(text)
    if found is None:
        raise BadInput(f"position `{text}`: expected one such as 0/16B3748", hint="Copy it from `siaga journal show`.")
    return (int(found[1], 16) << 32) | int(found[2], 16)


def show(position: int) -> str:
    """As PostgreSQL writes it."""
    return f"{position >> 32:X}/{position & 0xFFFFFFFF:X}"
