"""What may open: every way in which a report can prove too little, and what stays closed."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from siaga.errors import BadInput, Refused
from siaga.ledger.fence import Facts, Standing, SystemPolicy, release, release_accounts, release_by_override
from siaga.ledger.model import Grade, Scope, Verdict
from siaga.ledger.proof import Fault, Proof, Source, proof

HERE = Source("7001", 2, "shop")
STANDING = Standing(
    generation=5,
    is_open=False,
    closed_count=0,
    scope_wanted=Scope.JOURNAL,
    reason="restored to 03:15",
    raised_by="recover",
    raised_at=datetime(2026, 11, 4, 3, 20, tzinfo=UTC),
    settled_system="7001",
    verdict_lsn=None,
    verdict_digest=None,
)
FACTS = Facts(standing=STANDING, source=HERE, map_digest="m", sees_settled=True, written_after=frozenset())
PROOF = Proof(
    verdict=Verdict.VERIFIED,
    scope=Scope.JOURNAL,
    grade=Grade.FULL,
    accounts=100,
    verified=99,
    is_listed=True,
    lsn="0/5000",
    snapshot="10:12:11",
    source=HERE,
    map_digest="m",
    digest="d",
    faults={},
)
DOCUMENT: dict[str, Any] = {
    "verdict": "mismatch",
    "scope": "journal",
    "grade": "full",
    "accounts": 100,
    "verified": 98,
    "listed": True,
    "lsn": "0/5000",
    "snapshot": "10:12:11",
    "source": {"system_id": "7001", "timeline": 2, "database": "shop", "in_recovery": False},
    "map_digest": "m",
    "mismatched": [
        {"account": "a", "difference": "-5", "failed_checks": ["balance"], "entries": [{"id": "9"}]},
        {"account": "a", "difference": "-7", "failed_checks": ["count"], "entries": []},
        {"account": None, "difference": None, "failed_checks": ["orphans"], "entries": [{"id": "8"}]},
    ],
    "tainted": [{"account": "b", "transactions": ["t1"]}, {"account": "a", "transactions": ["t2"]}],
    "seconds": 1.25,
}


@pytest.mark.clause("DRP-3.2b")
@pytest.mark.parametrize(
    ("facts", "found", "why"),
    [
        (FACTS, replace(PROOF, verdict=Verdict.INCOMPLETE), "incomplete"),
        (FACTS, replace(PROOF, is_listed=False), "name every account"),
        (FACTS, replace(PROOF, source=replace(HERE, system_id="7002")), "expected shop on 7001"),
        (FACTS, replace(PROOF, source=replace(HERE, database="other")), "of database other"),
        (FACTS, replace(PROOF, source=replace(HERE, timeline=1)), "timeline 1, expected 2"),
        (FACTS, replace(PROOF, map_digest="n"), "another map"),
        (replace(FACTS, map_digest=None), PROOF, "another map"),
        (replace(FACTS, standing=replace(STANDING, settled_system=None)), PROOF, "not settled"),
        (replace(FACTS, standing=replace(STANDING, settled_system="6999")), PROOF, "not settled on this server"),
        (replace(FACTS, sees_settled=False), PROOF, "older than generation 5, raised by recover: restored to 03:15"),
        (replace(FACTS, is_superseded=True), PROOF, "a newer report"),
        (FACTS, replace(PROOF, scope=Scope.INTERNAL), "asks for the journal"),
        (FACTS, replace(PROOF, grade=Grade.TAIL), "grade `tail`"),
        (FACTS, replace(PROOF, grade=Grade.SUMS), "grade `sums`"),
        (replace(FACTS, written_after=None), PROOF, "cannot tell whether"),
    ],
)
def test_a_report_that_proves_too_little_is_refused_with_what_is_missing(facts: Facts, found: Proof, why: str) -> None:
    for attempt in (lambda: release(facts, found), lambda: release_accounts(facts, found, ["a"])):
        with pytest.raises(Refused, match=why) as refused:
            attempt()
        assert refused.value.hint


@pytest.mark.parametrize("grade", [Grade.FULL, Grade.PREFIX, Grade.TAIL])
def test_after_a_crash_a_tail_on_a_seal_and_the_ledgers_own_log_are_enough(grade: Grade) -> None:
    facts = replace(FACTS, standing=replace(STANDING, scope_wanted=Scope.INTERNAL))
    assert release(facts, replace(PROOF, scope=Scope.INTERNAL, grade=grade)).opens_default
    with pytest.raises(Refused, match="grade `sums`"):
        release(facts, replace(PROOF, scope=Scope.INTERNAL, grade=Grade.SUMS))


accounts = st.text("abcdef", min_size=1, max_size=2)


@pytest.mark.clause("DRP-3.2b")
@given(
    faults=st.dictionaries(accounts, st.booleans(), max_size=8),
    written=st.frozensets(accounts, max_size=4),
    overridden=st.frozensets(accounts, max_size=4),
    system=st.frozensets(accounts, max_size=4),
    policy=st.sampled_from(SystemPolicy),
)
def test_whoever_is_at_fault_or_written_since_stays_closed_but_for_a_persons_word(
    faults: dict[str, bool],
    written: frozenset[str],
    overridden: frozenset[str],
    system: frozenset[str],
    policy: SystemPolicy,
) -> None:
    found = replace(PROOF, faults={account: Fault("bad", (), taint) for account, taint in faults.items()})
    facts = replace(FACTS, written_after=written, overridden=overridden, system_accounts=system)
    closed = set(release(facts, found, policy).closed)
    serving = {account for account, taint in faults.items() if taint and account in system}
    excused = serving if policy is SystemPolicy.TAINTED_MAY_SERVE else set()
    assert closed == ((set(faults) - excused) | written) - overridden
    for account in "abcdef":
        if account in (set(faults) - excused) | written:
            with pytest.raises(Refused, match=f"account {account} is not verified"):
                release_accounts(facts, found, [account], policy)
        else:
            assert release_accounts(facts, found, [account], policy).opened == (account,)


def test_a_single_account_that_a_newer_verdict_closed_does_not_open_by_an_older_one() -> None:
    facts = replace(FACTS, newer=frozenset({"a"}))
    with pytest.raises(Refused, match="a newer verdict closed it"):
        release_accounts(facts, PROOF, ["b", "a"])


def test_the_decision_says_how_many_and_by_which_report() -> None:
    decision = release(FACTS, replace(PROOF, faults={"a": Fault("bad")}))
    assert decision.reason == ("generation 5: 99 of 100 accounts verified at 0/5000 against the journal, 1 stay closed")
    assert (decision.figures["digest"], decision.clause) == ("d", "DRP-3.2b")


def test_an_override_says_who_and_why_and_that_nothing_verified_it() -> None:
    decision = release_by_override(STANDING, ["a", "b"], "ann", "seen with bob")
    assert decision.reason == "generation 5: 2 accounts opened WITHOUT A VERDICT by ann: seen with bob"
    with pytest.raises(BadInput, match="found no reason"):
        release_by_override(STANDING, ["a"], "ann", "")


def test_a_report_names_each_account_once_and_an_entry_without_account_names_none() -> None:
    found = proof(DOCUMENT)
    assert found.source == HERE
    assert found.faults == {
        "a": Fault("mismatch: balance, off by -5", ({"id": "9"},)),
        "b": Fault("tainted: shares transaction t1 with a bad entry", ("t1",), True),
    }


def test_the_digest_is_of_the_whole_report_in_any_order_of_its_fields() -> None:
    assert proof(dict(reversed(DOCUMENT.items()))).digest == proof(DOCUMENT).digest
    assert proof(DOCUMENT | {"seconds": 1.5}).digest != proof(DOCUMENT).digest


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"verdict": "fine"}, "verdict"),
        ({"lsn": "5000"}, "lsn"),
        ({"snapshot": "10:12"}, "snapshot"),
        ({"accounts": -1}, "accounts"),
        ({"accounts": "100"}, "accounts"),
        ({"source": {"system_id": "7001"}}, "source.timeline"),
        ({"mismatched": [{"account": 5}]}, "mismatched.0.account"),
        ({"mismatched": None}, "mismatched"),
    ],
)
def test_a_report_with_a_wrong_field_is_bad_input_that_names_it(change: dict[str, Any], field: str) -> None:
    with pytest.raises(BadInput, match=field):
        proof(DOCUMENT | change)
    missing = {key: value for key, value in DOCUMENT.items() if key not in change}
    with pytest.raises(BadInput, match=next(iter(change))):
        proof(missing)


@pytest.mark.parametrize("document", [None, [], "report", 5])
def test_what_is_no_report_at_all_is_bad_input(document: Any) -> None:
    with pytest.raises(BadInput, match="no report of"):
        proof(document)
