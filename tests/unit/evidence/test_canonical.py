"""Canonical JSON: the quick writer against the reference, and what is refused."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from enum import IntEnum, StrEnum
from typing import Any

import pytest
import rfc8785
from hypothesis import example, given
from hypothesis import strategies as st

from siaga.errors import BadInput
from siaga.evidence.canonical import INTEGER_MAX, canonical

pytestmark = pytest.mark.clause("SUM")

TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-INTEGER_MAX, INTEGER_MAX)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4), max_leaves=12
)


@given(st.dictionaries(TEXTS, VALUES, max_size=6))
@example({"\ue000": 1, "\U0001f600": 2})
@example({"a": 1e-7, "b": 1e21, "c": 5e-324, "d": -0.0, "e": 9007199254740992.0, "f": 1e16, "g": 0.0001})
@example({'\x7f\u2028\x1f"\\/': "\x00\b\f\n\r\t"})
def test_it_writes_what_the_reference_writes(document: Mapping[str, Any]) -> None:
    assert canonical(document) == rfc8785.dumps(dict(document))


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_fraction_is_written_as_the_reference_writes_it(value: float) -> None:
    assert canonical({"x": value}) == rfc8785.dumps({"x": value})


def test_money_and_large_integers_are_text_so_that_no_reader_rounds_them() -> None:
    written = canonical({"balance": Decimal("12345678901234567890.10"), "system": 2**63, "small": INTEGER_MAX})
    assert written == b'{"balance":"12345678901234567890.10","small":9007199254740991,"system":"9223372036854775808"}'


def test_members_of_enumerations_are_written_as_their_values() -> None:
    class Colour(StrEnum):
        RED = "red"

    class Level(IntEnum):
        CRITICAL = 3

    assert canonical({"colour": Colour.RED, "level": Level.CRITICAL}) == b'{"colour":"red","level":3}'


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ({"figures": {"at": [1, object()]}}, r"`figures\.at\[1\]`.*a object"),
        ({"figures": {"share": float("nan")}}, r"`figures\.share`.*nan"),
        ({"figures": {"share": float("-inf")}}, r"`figures\.share`.*-inf"),
        ({"figures": {1: "x"}}, "`figures`.*the key 1"),
        ({"figures": {"raw": b"x"}}, r"`figures\.raw`.*a bytes"),
        ({"reason": "\ud800"}, "half of a surrogate pair"),
    ],
)
def test_what_json_has_no_word_for_is_refused_by_name(value: Mapping[str, Any], named: str) -> None:
    with pytest.raises(BadInput, match=named):
        canonical(value)


def test_a_list_that_holds_itself_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(BadInput, match="without an end"):
        canonical({"figures": endless})
