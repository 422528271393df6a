"""Whatever is in the file: a good site or `BadInput`, never anything else."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from siaga.errors import BadInput
from siaga.site.load import embedded, from_json, load, to_json

EXAMPLE = (Path(__file__).parents[3] / "examples" / "site.toml").read_bytes()
VALUE = re.compile(rb"(?<== )[^#\n]+")
KEY = re.compile(rb"(?m)^\w+(?= =)")

TOML_VALUES = st.sampled_from(
    ["0", "-1", "1e400", "nan", "inf", "true", "''", "'x'", "'\\u0000'", "[]", "{}", "[[1]]", "03:00:00", "1979-05-27"]
    + ["1979-05-27T07:32:00Z", "9" * 40, "0x7f", "{ a = 1 }", "[{}]", "['sgp', 'sgp']", '"h:80"', '"\\u202e"', "'sgp'"]
)

pytestmark = pytest.mark.filterwarnings("error")


def survives(content: bytes, directory: Path) -> None:
    """Load it; a site that comes out is whole."""
    path = directory / "site.toml"
    path.write_bytes(content)
    try:
        site = load(path)
    except BadInput as refusal:
        assert refusal.message
        assert refusal.hint
    else:
        assert from_json(to_json(site)) == site


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    survives(content, tmp_path_factory.getbasetemp())


@settings(deadline=None)
@given(st.integers(0, len(EXAMPLE)), st.integers(0, 60), st.binary(max_size=8))
def test_a_piece_cut_out_and_something_else_put_in(
    tmp_path_factory: pytest.TempPathFactory, at: int, cut: int, put: bytes
) -> None:
    survives(EXAMPLE[:at] + put + EXAMPLE[at + cut :], tmp_path_factory.getbasetemp())


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 100), TOML_VALUES), min_size=1, max_size=6))
def test_values_of_other_types(tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, str]]) -> None:
    content = EXAMPLE
    for number, value in changes:
        found = list(VALUE.finditer(content))
        span = found[number % len(found)].span()
        content = content[: span[0]] + value.encode() + content[span[1] :]
    survives(content, tmp_path_factory.getbasetemp())


@settings(deadline=None)
@given(st.integers(0, 100), st.from_regex(r"[a-z_]{1,12}|\"[^\"\\\x00-\x1f\x7f]{0,12}\"", fullmatch=True))
def test_keys_of_other_names(tmp_path_factory: pytest.TempPathFactory, number: int, key: str) -> None:
    found = list(KEY.finditer(EXAMPLE))
    first, last = found[number % len(found)].span()
    survives(EXAMPLE[:first] + key.encode() + EXAMPLE[last:], tmp_path_factory.getbasetemp())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["name", "nodes", "between"]), inner),
    max_leaves=6,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(list(embedded().model_dump())), JSON)
def test_a_json_site_with_anything_in_a_field(field: str, value: object) -> None:
    document = json.loads(to_json(embedded())) | {field: value}
    try:
        site = from_json(json.dumps(document))
    except BadInput:
        return
    assert from_json(to_json(site)) == site
