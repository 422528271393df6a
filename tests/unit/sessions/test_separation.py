"""Comparing the session cluster's places with the database's."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from siaga.sessions.separation import Aspect, Cluster, Placement, Separation, changes, fingerprint, separation, standing
from siaga.sop.adherence import Adherence

pytestmark = pytest.mark.clause("ZDT-1.1b")

NOON = datetime(2026, 11, 25, 5, tzinfo=UTC)
DATABASE = Placement(Cluster.DATABASE, "transactions-1", "db-1", "pid 10", "/srv/postgresql", "san-1", "aa")
SESSIONS = Placement(Cluster.SESSIONS, "sessions-1", "cache-1", "pid 20", "/srv/valkey", "san-2", "bb")
TOGETHER = {"host": "one", "volume": "disk"}


def with_changes(placement: Placement, **change: Any) -> Placement:
    return replace(placement, **change)


def aspects(*placements: Placement, one_machine: bool = False) -> dict[str, Aspect]:
    return {a.name: a for a in separation(placements, one_machine=one_machine)}


def test_nothing_shared_holds() -> None:
    found = aspects(DATABASE, SESSIONS)
    assert {a.separation for a in found.values()} == {Separation.SEPARATED}
    assert standing(list(found.values()), NOON, valid_s=10).adherence is Adherence.HOLDS


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("hosts", {"host": "db-1"}),
        ("processes", {"host": "db-1", "process": "pid 10"}),
        ("directories", {"host": "db-1", "directory": "/srv/postgresql"}),
        ("directories", {"host": "db-1", "directory": "/srv/valkey/../postgresql/18"}),
        ("directories", {"host": "db-1", "directory": "/srv"}),
        ("volumes", {"volume": "san-1"}),
        ("credentials", {"credential": "aa"}),
    ],
)
def test_one_thing_shared_breaks_the_clause_and_says_by_whom(name: str, change: dict[str, str]) -> None:
    found = aspects(DATABASE, with_changes(SESSIONS, **change))
    assert found[name] == Aspect(name, Separation.SHARED, "sessions-1 and transactions-1 share one")
    judged = standing(list(found.values()), NOON, valid_s=10)
    assert judged.adherence is Adherence.BROKEN
    assert f"{name}: sessions-1 and transactions-1 share one" in judged.why


def test_the_same_pid_or_path_on_two_hosts_is_no_sharing() -> None:
    found = aspects(DATABASE, replace(SESSIONS, process="pid 10", directory="/srv/postgresql"))
    assert found["processes"].separation is Separation.SEPARATED
    assert found["directories"].separation is Separation.SEPARATED


def test_different_hosts_separate_processes_and_directories_that_nobody_named() -> None:
    found = aspects(replace(DATABASE, process=None, directory=None), SESSIONS)
    assert found["processes"] == Aspect("processes", Separation.SEPARATED, "they are on different hosts")
    assert found["directories"].separation is Separation.SEPARATED


@pytest.mark.parametrize("field", ["volume", "credential"])
def test_what_nobody_told_is_not_measured(field: str) -> None:
    found = aspects(DATABASE, with_changes(SESSIONS, **{field: None}))
    assert found[f"{field}s"] == Aspect(f"{field}s", Separation.UNKNOWN, "not told for sessions-1")
    assert standing(list(found.values()), NOON, valid_s=10).adherence is Adherence.NOT_MEASURED


def test_a_prefix_of_a_name_is_no_directory_inside_it() -> None:
    one = with_changes(SESSIONS, **TOGETHER, directory="/srv/postgresql-sessions")
    found = aspects(with_changes(DATABASE, **TOGETHER), one, one_machine=True)
    assert found["directories"].separation is Separation.SEPARATED


def test_one_machine_says_openly_what_it_cannot_separate() -> None:
    found = aspects(with_changes(DATABASE, **TOGETHER), with_changes(SESSIONS, **TOGETHER), one_machine=True)
    assert {n: a.separation for n, a in found.items()} == {
        "hosts": Separation.NOT_APPLICABLE,
        "processes": Separation.SEPARATED,
        "directories": Separation.SEPARATED,
        "volumes": Separation.NOT_APPLICABLE,
        "credentials": Separation.SEPARATED,
    }
    judged = standing(list(found.values()), NOON, valid_s=10)
    assert judged.adherence is Adherence.HOLDS
    assert "one machine: the embedded platform cannot separate hosts" in judged.why
    assert judged.figure == "separated: processes, directories, credentials"


@pytest.mark.parametrize("placements", [(), (DATABASE,), (SESSIONS,)], ids=["none", "database", "sessions"])
def test_without_both_sides_nothing_is_measured(placements: tuple[Placement, ...]) -> None:
    found = aspects(*placements)
    assert standing(list(found.values()), NOON, valid_s=10).adherence is Adherence.NOT_MEASURED


def test_every_pair_is_compared() -> None:
    found = aspects(
        DATABASE, replace(DATABASE, server="history-1", credential="cc"), replace(SESSIONS, credential="cc")
    )
    assert found["credentials"].why == "sessions-1 and history-1 share one"


def test_only_what_changed_is_an_event() -> None:
    before = separation([DATABASE, SESSIONS], one_machine=False)
    after = separation([DATABASE, replace(SESSIONS, credential="aa")], one_machine=False)
    assert changes(before, before, NOON) == ()
    assert [e.reason for e in changes(before, after, NOON)] == [
        "credentials shared: sessions-1 and transactions-1 share one"
    ]


def test_a_fingerprint_compares_secrets_and_tells_none() -> None:
    key = b"k" * 32
    assert fingerprint(b"secret", key) == fingerprint(b"secret", key)
    assert fingerprint(b"secret", key) != fingerprint(b"other", key)
    assert fingerprint(b"secret", key) != fingerprint(b"secret", b"j" * 32)
    assert "secret" not in fingerprint(b"secret", key)
