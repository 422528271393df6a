"""Judging the session cluster from what its servers say."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siaga.sessions import slots
from siaga.sessions.decide import decide
from siaga.sessions.model import SLOTS, Answer, Coverage, Member, Role, ServerFacts, SessionVerdict
from siaga.sop.adherence import Adherence
from siaga.sop.limits import Limits

pytestmark = pytest.mark.clause("ZDT-1.1b")

NOON = datetime(2026, 11, 25, 5, tzinfo=UTC)
LIMITS = Limits().sessions
Facts = dict[str, ServerFacts]


def healthy() -> Facts:
    """Three primaries p0 to p2 with a third of the slots each, and their replicas r0 to r2."""
    thirds = [(0, 5461), (5462, 10922), (10923, SLOTS - 1)]
    members = [Member(f"id-p{n}", f"10.0.0.{n}:6379", False, "", n + 1, (thirds[n],)) for n in range(3)]
    members += [Member(f"id-r{n}", f"10.0.1.{n}:6379", False, f"id-p{n}", n + 1, ()) for n in range(3)]
    return {m.node_id[3:]: _server(m, tuple(members)) for m in members}


def _server(member: Member, members: tuple[Member, ...]) -> ServerFacts:
    return ServerFacts(
        name=member.node_id[3:],
        address=member.address,
        answer=Answer.ANSWERED,
        observed_at=NOON,
        role=Role.REPLICA if member.primary_id else Role.PRIMARY,
        node_id=member.node_id,
        primary_id=member.primary_id,
        link_up=bool(member.primary_id),
        serving=True,
        members=members,
    )


def silent(facts: Facts, name: str, answer: Answer, *, timeouts: int = 0) -> Facts:
    """The server gives no answer; the others have not noticed."""
    why = {Answer.REFUSED: "refuses connections", Answer.HUNG: "does not answer within 300 ms"}.get(answer, "is odd")
    known = facts[name]
    lost = ServerFacts(name, known.address, answer, NOON, why, timeouts, node_id=known.node_id)
    return facts | {name: lost}


def failed_over(facts: Facts, old: str, new: str) -> Facts:
    """The replica took the old primary's slots with a newer epoch, and every answering server knows."""
    given_up = next(m for m in facts[new].members if m.node_id == facts[old].node_id)
    told = {
        given_up.node_id: replace(given_up, slots=(), failed=True),
        facts[new].node_id: Member(facts[new].node_id, facts[new].address, False, "", 9, given_up.slots),
    }
    changed = {
        name: replace(server, members=tuple(told.get(m.node_id, m) for m in server.members))
        for name, server in facts.items()
    }
    return changed | {new: replace(changed[new], role=Role.PRIMARY, primary_id="", link_up=False)}


def verdict(facts: Facts, previous: SessionVerdict | None = None) -> SessionVerdict:
    return decide(tuple(facts.values()), LIMITS, NOON, previous)


def kinds(events: Iterable[object]) -> list[str]:
    return [event.kind for event in events]  # type: ignore[attr-defined]


def test_all_slots_on_answering_primaries_with_linked_replicas_hold() -> None:
    judged = verdict(healthy())
    assert judged.adherence is Adherence.HOLDS
    assert judged.slots_served == SLOTS
    assert [(s.primary, s.replicas) for s in judged.shards] == [("p0", ("r0",)), ("p1", ("r1",)), ("p2", ("r2",))]
    assert judged.figure == (
        "16384 of 16384 slots served, 3 of 3 primaries with a linked replica, 6 of 6 servers answer"
    )


def test_a_dead_primary_leaves_its_slots_uncovered() -> None:
    judged = verdict(silent(healthy(), "p1", Answer.REFUSED), verdict(healthy()))
    assert judged.adherence is Adherence.BROKEN
    assert judged.why == "slots 5462-10922 (5461 of 16384) are not served: p1 refuses connections"
    assert judged.slots_served == SLOTS - 5461
    assert [s.coverage for s in judged.shards] == [Coverage.SERVED, Coverage.UNCOVERED, Coverage.SERVED]


def test_after_the_failover_the_cluster_is_at_risk_and_the_event_says_who_took_what() -> None:
    before = verdict(healthy())
    during = verdict(silent(healthy(), "p1", Answer.REFUSED), before)
    after = verdict(failed_over(silent(healthy(), "p1", Answer.REFUSED), "p1", "r1"), during)
    assert during.events[0].kind == "standing"
    assert after.adherence is Adherence.AT_RISK
    assert after.why == "r1 has no linked replica; p1 refuses connections"
    assert kinds(after.events) == ["failover", "standing"]
    assert after.events[0].reason == "r1 took over slots 5462-10922 from p1, which refuses connections"


def test_nothing_new_is_no_event() -> None:
    first = verdict(healthy())
    assert kinds(first.events) == ["standing"]
    assert verdict(healthy(), first).events == ()


def test_one_missed_deadline_is_no_verdict_the_second_one_is() -> None:
    first = verdict(healthy())
    second = verdict(silent(healthy(), "p0", Answer.HUNG, timeouts=1), first)
    assert second.adherence is Adherence.HOLDS
    third = verdict(silent(healthy(), "p0", Answer.HUNG, timeouts=2), second)
    assert third.adherence is Adherence.BROKEN
    assert "p0 does not answer within 300 ms" in third.why


def test_a_missed_deadline_keeps_the_age_of_the_last_answer() -> None:
    older = {n: replace(s, observed_at=NOON - timedelta(seconds=3)) for n, s in healthy().items()}
    judged = verdict(silent(healthy(), "p0", Answer.HUNG, timeouts=1), verdict(older))
    assert judged.observed_at == NOON - timedelta(seconds=3)


def test_a_primary_silent_at_the_first_look_is_unseen_not_dead() -> None:
    judged = verdict(silent(healthy(), "p0", Answer.HUNG, timeouts=1))
    assert [s.coverage for s in judged.shards] == [Coverage.UNSEEN, Coverage.SERVED, Coverage.SERVED]
    assert judged.adherence is Adherence.AT_RISK


def test_the_cluster_s_own_agreement_is_enough_to_call_a_silent_primary_gone() -> None:
    facts = silent(healthy(), "p0", Answer.DENIED)
    told = {
        n: replace(s, members=tuple(replace(m, failed=m.node_id == "id-p0") for m in s.members))
        for n, s in facts.items()
    }
    assert verdict(told).adherence is Adherence.BROKEN
    assert "the cluster agreed that it is gone" in verdict(told).why


def test_a_primary_that_says_the_cluster_is_down_serves_nothing() -> None:
    facts = healthy()
    judged = verdict(facts | {"p2": replace(facts["p2"], serving=False)})
    assert judged.adherence is Adherence.BROKEN
    assert "p2 says that the cluster is down" in judged.why


def test_an_old_primary_that_still_claims_its_slots_does_not_win_them_back() -> None:
    partitioned = healthy()["p1"]
    facts = failed_over(healthy(), "p1", "r1") | {"p1": partitioned}
    assert verdict(facts).shards[1].primary == "r1"


def test_slots_moved_between_living_primaries_are_no_failover() -> None:
    facts = healthy()
    moved = {"id-p0": (0, 999), "id-p1": (1000, 10922)}
    told = {
        n: replace(
            s, members=tuple(replace(m, slots=(moved[m.node_id],)) if m.node_id in moved else m for m in s.members)
        )
        for n, s in facts.items()
    }
    events = verdict(told, verdict(facts)).events
    assert [e.reason for e in events] == ["slots 1000-5461 moved from p0 to p1"]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"link_up": False}, "p0 has no linked replica; r0 is a replica without link"),
        ({"primary_id": "id-p1"}, "p0 has no linked replica"),
        ({"role": Role.PRIMARY, "link_up": False}, "p0 has no linked replica; r0 is a primary without slots"),
    ],
)
def test_a_shard_without_a_second_copy_is_at_risk(change: dict[str, object], why: str) -> None:
    facts = healthy()
    judged = verdict(facts | {"r0": replace(facts["r0"], **change)})  # type: ignore[arg-type]
    assert (judged.adherence, judged.why) == (Adherence.AT_RISK, why)


def test_a_missing_replica_is_a_risk_even_where_another_one_is_linked() -> None:
    facts = healthy()
    members = (*facts["p0"].members, Member("id-r9", "10.0.1.9:6379", False, "id-p0", 1, ()))
    more = {n: replace(s, members=members) for n, s in facts.items()}
    more["r9"] = _server(members[-1], members)
    assert verdict(more).adherence is Adherence.HOLDS
    judged = verdict(silent(more, "r9", Answer.REFUSED))
    assert (judged.adherence, judged.why) == (Adherence.AT_RISK, "r9 refuses connections")


def test_slots_that_nobody_was_given_are_broken() -> None:
    facts = {
        n: replace(s, members=tuple(replace(m, slots=()) if m.node_id == "id-p0" else m for m in s.members))
        for n, s in healthy().items()
    }
    judged = verdict(facts)
    assert judged.adherence is Adherence.BROKEN
    assert "slots 0-5461 (5462 of 16384) are not served: no server that answers owns them" in judged.why


def test_a_primary_that_the_site_does_not_name_is_unseen() -> None:
    facts = healthy()
    del facts["p0"]
    judged = verdict(facts)
    assert judged.adherence is Adherence.NOT_MEASURED
    assert "their primary 10.0.0.0:6379 is not in the site" in judged.why


def test_servers_of_two_clusters_are_a_risk() -> None:
    facts = healthy()
    alone = tuple(m for m in facts["r0"].members if m.node_id == "id-r0")
    judged = verdict(facts | {"r0": replace(facts["r0"], members=alone)})
    assert judged.adherence is Adherence.AT_RISK
    assert "r0 does not know p0, p1, p2, r1, r2" in judged.why


@pytest.mark.parametrize(
    ("answer", "adherence"),
    [
        (Answer.REFUSED, Adherence.BROKEN),
        (Answer.HUNG, Adherence.NOT_MEASURED),
        (Answer.DENIED, Adherence.NOT_MEASURED),
        (Answer.FAILED, Adherence.NOT_MEASURED),
    ],
)
def test_when_no_server_answers_only_refusal_proves_anything(answer: Answer, adherence: Adherence) -> None:
    facts = healthy()
    for name in facts:
        facts = silent(facts, name, answer, timeouts=3)
    judged = verdict(facts)
    assert judged.adherence is adherence
    assert judged.figure == "0 of 6 servers answer"
    assert judged.observed_at == NOON
    assert judged.why.startswith("no server answers: p0 ")


def test_one_server_that_denies_us_leaves_the_rest_unmeasured() -> None:
    judged = verdict(silent(healthy(), "p0", Answer.DENIED))
    assert judged.adherence is Adherence.NOT_MEASURED
    assert [s.coverage for s in judged.shards] == [Coverage.UNSEEN, Coverage.SERVED, Coverage.SERVED]


ANSWERS = st.tuples(st.sampled_from(Answer), st.integers(1, 3), st.booleans(), st.booleans())


@settings(deadline=None, max_examples=60)
@given(st.lists(st.dictionaries(st.sampled_from(list(healthy())), ANSWERS), min_size=1, max_size=4))
def test_it_holds_only_when_every_server_plays_its_part(
    passes: list[dict[str, tuple[Answer, int, bool, bool]]],
) -> None:
    previous = None
    for changes in passes:
        facts = healthy()
        for name, (answer, timeouts, serving, linked) in changes.items():
            if answer is Answer.ANSWERED:
                facts[name] = replace(facts[name], serving=serving, link_up=linked and facts[name].role is Role.REPLICA)
            else:
                facts = silent(facts, name, answer, timeouts=timeouts)
        previous = verdict(facts, previous)
        assert slots.count(r for s in previous.shards for r in s.slots) == SLOTS
        if previous.adherence is Adherence.HOLDS:
            assert previous.slots_served == SLOTS
            assert all(s.replicas for s in previous.shards)
            assert all(s.answer is Answer.ANSWERED for s in previous.servers)
