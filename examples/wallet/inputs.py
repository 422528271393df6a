"""What users send, checked: every refusal names the field, what was found and what was expected. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from wallet.errors import BadRequest

AMOUNT_MAX = 10**12
ACCOUNT_MAX = 2**63 - 1
BODY_BYTES_MAX = 16_384
STATEMENT_LIMIT_DEFAULT = 20
STATEMENT_LIMIT_MAX = 100
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{2,63}")
KEY = re.compile(r"[\x21-\x7e]{1,128}")


def parse_body(body: bytes, expected: tuple[str, ...]) -> Mapping[str, Any]:
    """A JSON object with exactly the expected fields."""
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError):
        raise BadRequest("body", body[:40], "a JSON object") from None
    if not isinstance(parsed, dict):
        raise BadRequest("body", parsed, "a JSON object")
    for field in parsed:
        if field not in expected:
            raise BadRequest(field, parsed[field], f"no such field, only {', '.join(expected)}")
    return parsed


def amount(fields: Mapping[str, Any]) -> int:
    """A whole number of minor units (cents, not 1.50)."""
    return _integer(fields, "amount", AMOUNT_MAX, "of minor units")


def counterparty(fields: Mapping[str, Any]) -> int:
    """The account a transfer goes to."""
    return _integer(fields, "to", ACCOUNT_MAX, "that is an account number")


def name(fields: Mapping[str, Any]) -> str:
    """A user's name."""
    value = fields.get("name")
    if not isinstance(value, str) or not NAME.fullmatch(value):
        raise BadRequest("name", value, "3 to 64 of a-z 0-9 . _ -, first a letter or digit")
    return value


def password(fields: Mapping[str, Any]) -> str:
    """A password; never repeated in an answer."""
    value = fields.get("password")
    if not isinstance(value, str) or not 8 <= len(value) <= 128 or not _is_encodable(value):
        raise BadRequest("password", None if value is None else "a value that is not shown", "8 to 128 characters")
    return value


def idempotency_key(header: str | None) -> str:
    """The key that makes a write safe to repeat; unique over all users and regions (use a UUID)."""
    if header is None or not KEY.fullmatch(header):
        raise BadRequest("Idempotency-Key", header, "a header of 1 to 128 visible ASCII characters, such as a UUID")
    return header


def statement_limit(query: str | None) -> int:
    """How many entries to show."""
    if query is None:
        return STATEMENT_LIMIT_DEFAULT
    if not re.fullmatch(r"[0-9]{1,4}", query) or not 1 <= int(query) <= STATEMENT_LIMIT_MAX:
        raise BadRequest("limit", query, f"a whole number from 1 to {STATEMENT_LIMIT_MAX}")
    return int(query)


def _integer(fields: Mapping[str, Any], field: str, value_max: int, meaning: str) -> int:
    value = fields.get(field)
    if type(value) is not int or not 1 <= value <= value_max:
        raise BadRequest(field, value, f"a whole number from 1 to {value_max} {meaning}")
    return value


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
