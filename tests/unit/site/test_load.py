"""Loading a site file: every mistake is named at once, and nothing but a good site comes out."""

from __future__ import annotations

from pathlib import Path

import pytest

from siaga.errors import BadInput, Exit
from siaga.site.load import SITE_BYTES_MAX, embedded, from_json, load, to_json
from siaga.site.model import Site

EXAMPLE = Path(__file__).parents[3] / "examples" / "site.toml"


class Refused:
    """Loads a text that must be refused, and gives the refusal's lines without the file's name."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self, text: str | bytes) -> list[str]:
        """The lines of the refusal."""
        self.path.write_bytes(text if isinstance(text, bytes) else text.encode())
        with pytest.raises(BadInput) as refusal:
            load(self.path)
        assert refusal.value.exit_code is Exit.USAGE
        assert refusal.value.hint
        lines = refusal.value.message.splitlines()
        assert all(line.startswith(f"{self.path}: ") for line in lines)
        return [line.removeprefix(f"{self.path}: ") for line in lines]

    def in_example(self, old: str, new: str) -> list[str]:
        """The lines of the refusal of the example with one text replaced."""
        text = EXAMPLE.read_text()
        assert old in text
        return self(text.replace(old, new, 1))


@pytest.fixture
def refused(tmp_path: Path) -> Refused:
    return Refused(tmp_path / "site.toml")


def test_the_example_is_a_good_site() -> None:
    site = load(EXAMPLE)
    assert [node.name for node in site.nodes] == ["sgp-1", "sgp-2", "fra-1", "fra-2"]
    assert site.round_trip_ms("fra", "sgp") == 160
    assert site.limits.traffic.divert_s_max == 5
    assert not site.embedded


def test_the_embedded_site_needs_no_file() -> None:
    site = embedded()
    assert {r.name: [n.name for n in r.nodes] for r in site.regions} == {
        "sgp": ["sgp-1", "sgp-2"],
        "fra": ["fra-1", "fra-2"],
    }
    assert site.round_trip_ms("sgp", "fra") == 160
    assert [s.name for s in site.transactions.servers] == ["transactions-1", "transactions-2"]
    assert (site.transactions.database, site.transactions.region) == ("wallet", "sgp")
    assert [s.name for s in site.history.servers] == ["history-1"]
    assert [s.name for s in site.sessions.servers] == [f"sessions-{n}" for n in range(1, 7)]
    assert [v.name for v in site.vendors] == ["alpha", "beta", "gamma"]
    assert embedded("second").name == "second"


def test_an_embedded_file_names_only_what_differs(tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    path.write_text(
        "embedded = true\n[limits.traffic]\ndivert_s_max = 2\n"
        "[[regions]]\nname = 'jkt'\nnodes = [{ name = 'a' }]\n"
        "[[regions]]\nname = 'syd'\nnodes = [{ name = 'b' }]\n"
        "[[regions]]\nname = 'lon'\nnodes = [{ name = 'c' }]\n"
        "[[distances]]\nbetween = ['jkt', 'syd']\nround_trip_ms = 90\n"
    )
    site = load(path)
    assert site.limits.traffic.divert_s_max == 2
    assert site.transactions.region == site.history.region == "jkt"
    assert site.round_trip_ms("syd", "jkt") == 90
    assert [s.name for s in site.sessions.servers] == [f"sessions-{n}" for n in range(1, 7)]


def test_embedded_regions_without_distances_are_all_far_apart(tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    names = ("jkt", "syd", "lon")
    regions = "".join(f"[[regions]]\nname = '{name}'\nnodes = [{{ name = '{name}-1' }}]\n" for name in names)
    path.write_text("embedded = true\n" + regions)
    site = load(path)
    assert {site.round_trip_ms(a, b) for a in names for b in names if a != b} == {160}


def test_forty_nodes_work_the_same(tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    nodes = ", ".join(f"{{ name = 'n-{number}' }}" for number in range(40))
    path.write_text(f"embedded = true\n[[regions]]\nname = 'jkt'\nnodes = [{nodes}]\n")
    assert len(load(path).nodes) == 40


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    path.write_bytes(b"\xef\xbb\xbfembedded = true\n")
    assert load(path).embedded


def test_every_mistake_is_named_at_once(refused: Refused) -> None:
    lines = refused(
        "embedded = true\n"
        "timezone = 'Asia/Jakrata'\n"
        "colour = 'red'\n"
        "[limits.traffic]\n"
        "latencey_ms_max = 400\n"
        "divert_s_max = 12\n"
        "[[regions]]\nname = 'sgp'\nnodes = []\n"
        "[[regions]]\nname = 'sgp'\nnodes = [{ name = 'a', address = 'h:99999' }, { name = 'a', host = 7 }]\n"
        "[[distances]]\nbetween = ['sgp', 'mars']\nround_trip_ms = '160'\n"
    )
    assert lines == [
        "limits.traffic.divert_s_max = 12: looser than ZDT-1.1a allows, at most 10",
        'limits.traffic.latencey_ms_max: unknown key "latencey_ms_max", did you mean `latency_ms_max`?',
        "regions.sgp.nodes = an empty list: expected at least 1",
        'regions.sgp.nodes.a.address = "h:99999": expected host:port with a port of 1 to 65535',
        "regions.sgp.nodes.a.host = 7: expected text in quotes",
        'distances[1].round_trip_ms = "160": expected a whole number',
        f'colour: unknown key "colour", expected one of {", ".join(Site.model_fields)}',
        'regions: the name "sgp" is given twice, expected a different one each time',
        'nodes: the name "a" is given twice, expected a different one each time',
        'distances.between = "mars": no such region, expected one of "sgp"',
        'timezone = "Asia/Jakrata": unknown time zone, did you mean `Asia/Jakarta`?',
    ]


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        (
            'address = "10.10.1.11:8080"',
            'adress = "10.10.1.11:8080"',
            'regions.sgp.nodes.sgp-1.adress: unknown key "adress", did you mean `address`?',
        ),
        (
            'address = "10.10.1.11:8080"',
            "",
            "regions.sgp.nodes.sgp-1.address: missing, expected host:port (only an embedded platform chooses its own)",
        ),
        (
            '"10.10.1.11:8080"',
            '"10.10.1.12:8080"',
            'regions.sgp.nodes.sgp-2.address = "10.10.1.12:8080": already the address of '
            "regions.sgp.nodes.sgp-1.address, expected one of its own",
        ),
        (
            '"10.10.3.11:6379"',
            '"10.10.2.11:5432"',
            'sessions.servers.sessions-1.address = "10.10.2.11:5432": already the address of '
            "transactions.servers.transactions-1.address, expected one of its own",
        ),
        (
            'name = "sessions-1"',
            'name = "transactions-1"',
            'servers: the name "transactions-1" is given twice, expected a different one each time',
        ),
        (
            'name = "identity"',
            'name = "payments"',
            'vendors: the name "payments" is given twice, expected a different one each time',
        ),
        (
            'region = "sgp"',
            'region = "sin"',
            'transactions.region = "sin": no such region, expected one of "sgp", "fra"',
        ),
        (
            'between = ["sgp", "fra"]',
            'between = ["sgp", "sgp"]',
            'distances.between = "sgp" twice: expected two different regions',
        ),
        (
            "https://api.payments",
            "https://user:hunter2@api.payments",
            'vendors.payments.url = "https://…@api.payments.example/v1/health": expected a URL such as '
            "https://api.example.net/v1, without user or password",
        ),
        (
            'url = "https://api.identity.example/health"',
            "",
            "vendors.identity.url: missing, expected the URL that its audit calls",
        ),
        (
            "interval_min_max = 10",
            "interval_min_max = 10.5",
            "limits.snapshots.interval_min_max = 10.5: expected a whole number",
        ),
        (
            'window_begin = "03:10"',
            'window_begin = "02:10"',
            'limits.database.window_begin = "02:10": looser than PMT-2.1 allows, at least 03:00',
        ),
        (
            'window_begin = "03:10"',
            'window_begin = "03:55"',
            "limits.database: window_begin 03:55 is not before window_end 03:50",
        ),
        ("round_trip_ms = 160", "round_trip_ms = -1", "distances[1].round_trip_ms = -1: expected at least 0"),
        (
            'name = "nusantara"',
            'name = "Nusantara"',
            'name = "Nusantara": expected a name of small letters, digits and dashes, beginning with a letter, '
            "31 at most",
        ),
        ("[sessions]", "[session]", 'session: unknown key "session", did you mean `sessions`?'),
        (
            'host = "sgp-db-1"',
            'host = ""',
            'transactions.servers.transactions-1.host = "": expected text that is not empty',
        ),
    ],
)
def test_a_mistake_names_field_found_and_expected(refused: Refused, old: str, new: str, line: str) -> None:
    assert line in refused.in_example(old, new)


@pytest.mark.parametrize(
    "address", ["", "h", "h:", ":1", "h:0", "h:65536", "h:1:2", "h:-1", "h:1e3", "h:１", "a b:1", "http://h:1", "u@h:1"]
)
def test_a_malformed_address_is_refused(refused: Refused, address: str) -> None:
    (line,) = refused.in_example('"10.10.1.11:8080"', f'"{address}"')
    assert line.endswith("expected host:port with a port of 1 to 65535")


def test_wrong_types_all_over_are_each_named(refused: Refused) -> None:
    lines = refused("name = 1\nembedded = 'yes'\nregions = 3\ntransactions = []\nhistory = true\nvendors = [1]\n")
    assert 'embedded = "yes": expected true or false' in lines
    assert "regions = 3: expected a list" in lines
    assert "transactions = an empty list: expected a table" in lines
    assert "vendors[1] = 1: expected a table" in lines
    assert "sessions: missing, but required" in lines


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("name = 'x", 'not valid TOML: expected "\'" (at the end, line 1)'),
        ("name = 'x'\nname = 'y'\n", "not valid TOML: cannot overwrite a value (at line 2, column 11)"),
        ("a = " + "[" * 3000, "not valid TOML: nested too deep to read"),
        ("a = " + "9" * 5000, "not valid TOML: a number of too many digits to read"),
        (b"a = 'x'\nb = '\xff'\n", "line 2: not UTF-8, found byte 0xff"),
        (b"\0" * 10, "not valid TOML"),
        (b"#" * (SITE_BYTES_MAX + 1), f"more than {SITE_BYTES_MAX} bytes"),
    ],
    ids=["cut", "key twice", "nested", "digits", "latin-1", "zeros", "huge"],
)
def test_what_is_no_toml_is_refused_with_its_line(refused: Refused, content: str | bytes, words: str) -> None:
    (line,) = refused(content)
    assert words in line


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("missing.toml", "no such file"),
        (".", "a directory"),
        ("file/site.toml", "not readable: not a directory"),
        ("null\0byte", "not readable"),
        ("x" * 300, "not readable: file name too long"),
    ],
)
def test_what_cannot_be_read_is_refused(tmp_path: Path, path: str, words: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadInput, match=words):
        load(tmp_path / path)


def test_an_endless_file_is_refused() -> None:
    with pytest.raises(BadInput, match="more than"):
        load(Path("/dev/zero"))


def test_a_long_or_unprintable_value_stays_on_one_short_line(refused: Refused) -> None:
    for line in refused('name = "a\\nb\\u0007"\ntimezone = "' + "x" * 5000 + '"\n["a\\nb"]\n'):
        assert len(line) < 300
        assert line.isprintable()


def test_an_empty_file_says_what_is_missing(refused: Refused) -> None:
    assert refused("") == [
        f"{key}: missing, but required" for key in ("regions", "transactions", "history", "sessions")
    ]


@pytest.mark.parametrize("site", [embedded(), load(EXAMPLE)], ids=["embedded", "example"])
def test_a_site_survives_json_unchanged(site: Site) -> None:
    assert from_json(to_json(site)) == site


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "not valid JSON"),
        ("", "not valid JSON"),
        ("[]", "expected a site as JSON"),
        ("[" * 100_000, "not valid JSON"),
        ('{"embedded": true, "limits": {"traffic": {"divert_s_max": 60}}}', "looser than ZDT-1.1a allows"),
    ],
    ids=["cut", "empty", "list", "nested", "looser"],
)
def test_a_damaged_json_site_is_refused(text: str, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        from_json(text, origin="state/site.json")
