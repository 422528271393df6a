"""Reads a ledger map (TOML) and names everything that is wrong with it at once."""

from __future__ import annotations

import tomllib
from pathlib import Path

from pydantic import ValidationError

from siaga.errors import BadInput
from siaga.ledger.map import LedgerMap
from siaga.ledger.schema import MAP_HINT
from siaga.site import mistakes

MAP_BYTES_MAX = 1 << 20
"""A map has a kilobyte; more is another file given by mistake, and is not parsed."""


def load(path: Path) -> LedgerMap:
    """The map in the TOML file `path`; BadInput names every mistake in it."""
    try:
        with path.open("rb") as file:
            content = file.read(MAP_BYTES_MAX + 1)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise BadInput(f"{path}: {reason}, expected a ledger map in TOML", hint=MAP_HINT) from error
    if len(content) > MAP_BYTES_MAX:
        raise BadInput(f"{path}: more than {MAP_BYTES_MAX} bytes, expected a ledger map in TOML", hint=MAP_HINT)
    return loads(content, origin=str(path))


def loads(content: bytes, *, origin: str) -> LedgerMap:
    """The map in that text; BadInput names every mistake in it."""
    try:
        document = tomllib.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{origin}: not valid TOML: {error}", hint=MAP_HINT) from error
    try:
        return LedgerMap.model_validate(document)
    except ValidationError as error:
        lines = mistakes.lines(error, document, LedgerMap)
        raise BadInput("\n".join(f"{origin}: {line}" for line in lines), hint=MAP_HINT) from error
