"""Records as bytes: canonical JSON (RFC 8785), quickly.

`rfc8785` decides what is canonical, and at four times the cost of the standard library's writer it would decide how
many records a second there can be, too. For nearly all values the two agree: those are settled here, so that the quick
one may write them, and a property test holds it against the other.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from enum import Enum
from typing import Any

import rfc8785

from siaga.errors import BadInput

INTEGER_MAX = 2**53 - 1
"""What every JSON reader reads exactly; RFC 8785 wants larger ones as text."""

_SAME_ORDER_MAX = "\ud7ff"
"""Up to here the order of characters is that of their UTF-16 form, which RFC 8785 sorts by."""

_write = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, check_circular=False).encode


class _NotPlain(Exception):
    """Something that JSON has no word for, and the way to it."""

    def __init__(self, found: str) -> None:
        self.found = found
        self.path = ""


class _Rare(Exception):
    """A value that the quick writer writes differently."""


def canonical(document: Mapping[str, Any]) -> bytes:
    """The canonical JSON of a plain document; BadInput names what is not plain.

    Integers beyond 2^53 and Decimals (money) are written as text, so that no reader rounds them.
    """
    try:
        try:
            return _write(_settled(document, rare=False)).encode()
        except _Rare:
            return rfc8785.dumps(_settled(document, rare=True))
    except _NotPlain as found:
        raise _refusal(found.path.removeprefix("."), found.found) from None
    except (UnicodeEncodeError, rfc8785.CanonicalizationError):
        raise _refusal("text", "half of a surrogate pair") from None
    except RecursionError:
        raise _refusal("figures", "lists or objects within each other without an end") from None


def _settled(value: Any, *, rare: bool) -> Any:
    """The value with nothing in it but what JSON has; `rare` allows what only `rfc8785` writes rightly."""
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return value
    if kind is int:
        return value if -INTEGER_MAX <= value <= INTEGER_MAX else str(value)
    if kind is float:
        return _settled_fraction(value, rare=rare)
    if isinstance(value, Mapping):
        return {_key(key, rare=rare): _step(f".{key}", item, rare=rare) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_step(f"[{number}]", item, rare=rare) for number, item in enumerate(value)]
    if isinstance(value, Enum):
        return _settled(value.value, rare=rare)
    if isinstance(value, Decimal):
        return str(value)
    raise _NotPlain(f"a {kind.__name__}")


def _step(step: str, value: Any, *, rare: bool) -> Any:
    try:
        return _settled(value, rare=rare)
    except _NotPlain as found:
        found.path = step + found.path
        raise


def _key(key: Any, *, rare: bool) -> str:
    if not isinstance(key, str):
        raise _NotPlain(f"the key {key!r}")
    if not rare and not key.isascii() and max(key) > _SAME_ORDER_MAX:
        raise _Rare
    return key


def _settled_fraction(value: float, *, rare: bool) -> int | float:
    """As an integer where JSON writes it so; from 1e-4 to 1e16 both write the same shortest digits."""
    if value != value or value in (float("inf"), float("-inf")):
        raise _NotPlain(str(value))
    if value.is_integer() and -INTEGER_MAX <= value <= INTEGER_MAX:
        return int(value)
    if not rare and (value.is_integer() or not 1e-4 <= abs(value) < 1e16):
        raise _Rare
    return value


def _refusal(path: str, found: str) -> BadInput:
    return BadInput(
        f"`{path}` of a record: found {found}, expected text, numbers, true, false, null, lists and objects of them",
        hint="Turn it into one of these before recording it.",
    )
