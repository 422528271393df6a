"""The cluster as CLUSTER NODES tells it."""

from __future__ import annotations

from wallet.cluster_view import Shard, parse_nodes

NODES = """\
a1 127.0.0.1:7001@17001,host,shard-id=x myself,master - 0 0 1 connected 0-5460 [5461->-b1]
a2 127.0.0.1:7002@17002 master - 0 0 2 connected 5461-10922 16383
a3 127.0.0.1:7003@17003 master,fail? - 0 0 3 connected 10923-16382
b1 127.0.0.1:7004@17004 slave a1 0 0 1 connected
b2 127.0.0.1:7005@17005 slave,fail a2 0 0 2 disconnected
b3 127.0.0.1:7006@17006 slave a3 0 0 3 connected
c1 :0@0 slave,noaddr a1 0 0 1 disconnected
c2 127.0.0.1:7008@17008 master - 0 0 9 connected
"""


def test_slots_have_their_primary_and_the_replicas_that_did_not_fail() -> None:
    view = parse_nodes(NODES)
    assert view.shard(0) == view.shard(5460) == Shard("127.0.0.1:7001", ("127.0.0.1:7004",))
    assert view.shard(5461) == view.shard(16383) == Shard("127.0.0.1:7002", ())
    assert view.shard(10923) == Shard("127.0.0.1:7003", ("127.0.0.1:7006",))
    assert len(view.shards) == 3


def test_the_epoch_is_that_of_the_newest_owner_of_slots() -> None:
    assert parse_nodes(NODES).epoch == 3


def test_a_slot_nobody_owns_has_no_shard() -> None:
    view = parse_nodes(NODES.splitlines()[0])
    assert (view.shard(5460), view.shard(5461)) == (Shard("127.0.0.1:7001", ()), None)


def test_every_server_with_an_address_is_known() -> None:
    assert len(parse_nodes(NODES).addresses) == 7
