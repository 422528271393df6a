"""The tree, against the vectors of the certificate-transparency implementations and against its definition."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from siaga.evidence.merkle import Tree, leaf_hash, node_hash, push, root_of, verify_consistency, verify_inclusion

pytestmark = pytest.mark.clause("SUM")

CONTENTS = [bytes.fromhex(text) for text in (
    "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f",
)]  # fmt: skip
ROOTS = (
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)
LEAVES = [leaf_hash(content) for content in CONTENTS]
MANY = [hashlib.sha256(bytes([n])).digest() for n in range(70)]


def peaks_of(leaves: list[bytes]) -> list[bytes]:
    peaks: list[bytes] = []
    push(peaks, 0, leaves)
    return peaks


def defined_root(leaves: list[bytes]) -> bytes:
    """RFC 6962, section 2.1, word for word."""
    if len(leaves) < 2:
        return leaves[0] if leaves else hashlib.sha256(b"").digest()
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return node_hash(defined_root(leaves[:k]), defined_root(leaves[k:]))


@pytest.mark.parametrize("size", range(9))
def test_roots_are_those_of_the_published_vectors(size: int) -> None:
    assert Tree(0, (), LEAVES).root(size).hex() == ROOTS[size]
    assert root_of(peaks_of(LEAVES[:size])).hex() == ROOTS[size]


def test_the_published_inclusion_proof_of_leaf_5_in_8_is_built_and_verified() -> None:
    proof = [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ]
    assert [node.hex() for node in Tree(0, (), LEAVES).inclusion(5, 8)] == proof
    assert verify_inclusion(LEAVES[5], 5, 8, bytes.fromhex(ROOTS[8]), [bytes.fromhex(node) for node in proof])


def test_the_published_consistency_proof_of_6_and_8_is_built_and_verified() -> None:
    proof = [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ]
    assert [node.hex() for node in Tree(0, (), LEAVES).consistency(6, 8)] == proof
    nodes = [bytes.fromhex(node) for node in proof]
    assert verify_consistency(6, bytes.fromhex(ROOTS[6]), 8, bytes.fromhex(ROOTS[8]), nodes)


@given(size=st.integers(0, 70), base=st.integers(0, 70))
def test_a_tree_from_any_base_has_the_defined_root(size: int, base: int) -> None:
    base = min(base, size)
    tree = Tree(base, peaks_of(MANY[:base]), MANY[base:])
    assert tree.root(size) == root_of(peaks_of(MANY[:size])) == defined_root(MANY[:size])


@given(data=st.data())
def test_every_proof_from_any_base_verifies(data: st.DataObject) -> None:
    new = data.draw(st.integers(1, 70))
    old = data.draw(st.integers(0, new))
    tree = Tree(base := data.draw(st.integers(0, old)), peaks_of(MANY[:base]), MANY[base:])
    assert verify_consistency(
        old, tree.root(old) if old else root_of(()), new, tree.root(new), tree.consistency(old, new)
    )
    number = data.draw(st.integers(base, new - 1)) if base < new else None
    if number is not None:
        assert verify_inclusion(MANY[number], number, new, tree.root(new), tree.inclusion(number, new))


@given(data=st.data())
def test_no_altered_proof_verifies(data: st.DataObject) -> None:
    new = data.draw(st.integers(2, 70))
    old = data.draw(st.integers(1, new - 1))
    tree = Tree(0, (), MANY)
    proof = tree.consistency(old, new)
    change = data.draw(st.sampled_from(["flip", "drop", "add", "swap roots", "sizes"]))
    place = data.draw(st.integers(0, len(proof) - 1)) if proof else 0
    old_root, new_root = tree.root(old), tree.root(new)
    if change == "flip":
        proof[place] = bytes([proof[place][0] ^ 1]) + proof[place][1:]
    elif change == "drop":
        del proof[place]
    elif change == "add":
        proof.insert(place, MANY[0])
    elif change == "swap roots":
        old_root, new_root = new_root, old_root
    else:
        old, new = new, old
    assert not verify_consistency(old, old_root, new, new_root, proof)


def test_a_record_that_is_not_in_the_tree_has_no_proof() -> None:
    tree = Tree(0, (), LEAVES)
    proof = tree.inclusion(5, 8)
    assert not verify_inclusion(LEAVES[4], 5, 8, tree.root(8), proof)
    assert not verify_inclusion(LEAVES[5], 4, 8, tree.root(8), proof)
    assert not verify_inclusion(LEAVES[5], 8, 8, tree.root(8), proof)
    assert not verify_inclusion(LEAVES[5], -1, 8, tree.root(8), proof)
    assert not verify_inclusion(LEAVES[5], 5, 8, tree.root(8), [*proof, LEAVES[0]])
