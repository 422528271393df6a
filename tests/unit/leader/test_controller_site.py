"""What a site may say about its controllers, and where they then are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from siaga.errors import BadInput
from siaga.platform import layout, lifecycle
from siaga.platform.account import Home
from siaga.platform.engines import Engines
from siaga.platform.progress import Progress
from siaga.site import load
from siaga.site.load import embedded, from_json, to_json
from siaga.site.model import Site

TWO = '[controller]\nstate = "postgresql"\nstandby = true\n'


def site(tmp_path: Path, controller: str) -> Site:
    path = tmp_path / "site.toml"
    path.write_text('name = "two"\nembedded = true\n' + controller)
    return load.load(path)


def laid_out(directory: Path, wanted: Site) -> layout.Layout:
    keys = layout.listeners(wanted)
    return layout.resolve(Home(directory, directory), wanted, dict(zip(keys, range(21_000, 22_000), strict=False)))


def test_without_a_word_there_is_one_controller_and_no_server_for_it(tmp_path: Path) -> None:
    chosen = laid_out(tmp_path, embedded())
    assert chosen.controller_sockets == (tmp_path / "controller.sock",)
    assert "control-db" not in chosen.parts
    assert chosen.site.controller.address is None


def test_two_controllers_have_a_database_and_each_an_address_and_a_socket(tmp_path: Path) -> None:
    chosen = laid_out(tmp_path, site(tmp_path, TWO))
    assert [path.name for path in chosen.controller_sockets] == ["controller.sock", "controller-b.sock"]
    assert {"control-db", "controller", "controller-b"} <= set(chosen.parts)
    assert chosen.site.controller.address == chosen.parts["control-db"]
    assert len(set(chosen.parts.values()) - {""}) == len([p for p in chosen.parts.values() if p])


@pytest.mark.parametrize(
    ("controller", "said"),
    [
        ("[controller]\nstandby = true\n", "controller.standby = true"),
        ('[controller]\nstate = "sqlite"\naddress = "db:5432"\n', 'controller.address = "db:5432"'),
        ('[controller]\nstate = "mysql"\n', "'sqlite' or 'postgresql'"),
        ('[controller]\nstate = "postgresql"\naddress = "db"\n', "host:port"),
        ('[controller]\nstate = "postgresql"\nstandby = "yes"\n', "true or false"),
        ("[controller]\nstnadby = true\n", "did you mean `standby`"),
    ],
)
def test_a_mistake_names_the_field_and_what_was_expected(tmp_path: Path, controller: str, said: str) -> None:
    with pytest.raises(BadInput) as refused:
        site(tmp_path, controller)
    assert said in refused.value.message


def test_an_existing_platform_names_the_address_of_its_state(tmp_path: Path) -> None:
    document = json.loads(to_json(laid_out(tmp_path, site(tmp_path, TWO)).site)) | {"embedded": False}
    assert from_json(json.dumps(document)).controller.address
    del document["controller"]["address"]
    with pytest.raises(BadInput, match=r"controller\.address: missing, expected host:port"):
        from_json(json.dumps(document))


def test_the_state_may_not_be_in_a_database_that_it_recovers(tmp_path: Path) -> None:
    document = json.loads(to_json(laid_out(tmp_path, site(tmp_path, TWO)).site)) | {"embedded": False}
    document["controller"]["address"] = document["transactions"]["servers"][0]["address"]
    with pytest.raises(BadInput, match=r"controller\.address = .*: already the address of transactions"):
        from_json(json.dumps(document))


def test_a_platform_that_uses_nothing_new_is_readable_by_the_version_before(tmp_path: Path) -> None:
    """It knows no key that came later, and refuses those it does not know."""
    written = json.loads(to_json(laid_out(tmp_path, embedded()).site))
    before = {"name", "embedded", "timezone", "limits", "regions", "distances", "transactions", "history", "sessions"}
    assert set(written) <= before | {"vendors"}


async def test_state_is_not_moved_between_sqlite_and_postgresql_by_a_site_file(tmp_path: Path) -> None:
    chosen = laid_out(tmp_path, embedded())
    layout.save(chosen)
    before = chosen.place.layout.read_bytes()
    nothing = Engines((), {}, Path(), Path(), Path(), Path(), {})
    with pytest.raises(BadInput, match="not moved in place") as refused:
        await lifecycle._up(chosen.place, nothing, site(tmp_path, TWO), Progress(quiet=True))
    assert 'state = "sqlite"' in refused.value.hint
    assert chosen.place.layout.read_bytes() == before
