"""The tree over the records: hashes, roots, proofs that a record is in it and that one tree extends another.

RFC 6962, section 2.1, verification as in RFC 9162. Pure, and of the standard library alone: the offline verifier
carries this file along.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence


def leaf_hash(content: bytes) -> bytes:
    """The hash of a leaf; its prefix keeps a leaf from passing for a node."""
    return hashlib.sha256(b"\x00" + content).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def push(peaks: list[bytes], size: int, leaves: Sequence[bytes]) -> None:
    """Add leaves to a tree of `size` leaves, in place.

    The peaks are the roots of its complete subtrees, largest first: all that adding and the root need.
    """
    for leaf in leaves:
        node = leaf
        remaining = size
        while remaining & 1:
            node = hashlib.sha256(b"\x01" + peaks.pop() + node).digest()
            remaining >>= 1
        peaks.append(node)
        size += 1


def root_of(peaks: Sequence[bytes]) -> bytes:
    """The root of the tree with these peaks; the hash of nothing for the empty one."""
    if not peaks:
        return hashlib.sha256(b"").digest()
    root = peaks[-1]
    for peak in reversed(peaks[:-1]):
        root = node_hash(peak, root)
    return root


class Tree:
    """The part of a tree from `base` on: its leaves, and the peaks of all that is before.

    Enough for the roots and proofs of every size from `base` to `base + len(leaves)`.
    """

    def __init__(self, base: int, peaks: Sequence[bytes], leaves: Sequence[bytes]) -> None:
        """Take the peaks of the first `base` leaves and the leaves that follow."""
        self._base = base
        self._leaves = leaves
        self._known: dict[tuple[int, int], bytes] = {}
        begin = 0
        for peak in peaks:
            width = 1 << ((base - begin).bit_length() - 1)
            self._known[begin, begin + width] = peak
            begin += width

    def root(self, size: int) -> bytes:
        """The root of the first `size` leaves."""
        return self._hash(0, size) if size else root_of(())

    def consistency(self, old: int, new: int) -> list[bytes]:
        """The proof that the tree of `new` leaves extends the one of `old`; `old` is at least the base."""
        if old == 0:
            return []
        proof: list[bytes] = []
        begin, end = 0, new
        while old != end:
            middle = begin + _split(end - begin)
            if old <= middle:
                proof.append(self._hash(middle, end))
                end = middle
            else:
                proof.append(self._hash(begin, middle))
                begin = middle
        # Left of everything the old tree is the very node that the verifier starts from.
        if begin:
            proof.append(self._hash(begin, end))
        return proof[::-1]

    def inclusion(self, number: int, size: int) -> list[bytes]:
        """The proof that leaf `number` is in the tree of `size` leaves; it is at least the base."""
        proof: list[bytes] = []
        begin, end = 0, size
        while end - begin > 1:
            middle = begin + _split(end - begin)
            if number < middle:
                proof.append(self._hash(middle, end))
                end = middle
            else:
                proof.append(self._hash(begin, middle))
                begin = middle
        return proof[::-1]

    def _hash(self, begin: int, end: int) -> bytes:
        known = self._known.get((begin, end))
        if known is not None:
            return known
        if end - begin == 1:
            return self._leaves[begin - self._base]
        peaks: list[bytes] = []
        if begin >= self._base:
            push(peaks, 0, self._leaves[begin - self._base : end - self._base])
            return root_of(peaks)
        middle = begin + _split(end - begin)
        return node_hash(self._hash(begin, middle), self._hash(middle, end))


def _split(width: int) -> int:
    """The largest power of two below `width`."""
    return 1 << ((width - 1).bit_length() - 1)


def verify_inclusion(leaf: bytes, number: int, size: int, root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether the leaf is number `number` of the tree with this size and root (RFC 9162, 2.1.3.2)."""
    if not 0 <= number < size:
        return False
    position, last, node = number, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return False
        if position & 1 or position == last:
            node = node_hash(sibling, node)
            while position and not position & 1:
                position >>= 1
                last >>= 1
        else:
            node = node_hash(node, sibling)
        position >>= 1
        last >>= 1
    return last == 0 and node == root


def verify_consistency(old_size: int, old_root: bytes, new_size: int, new_root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether the tree of the new size and root extends that of the old ones (RFC 9162, 2.1.4.2)."""
    if old_size == new_size:
        return old_root == new_root and not proof
    if old_size == 0:
        return old_root == root_of(()) and not proof
    if not 0 < old_size < new_size:
        return False
    # A complete old tree is a node of the new one: the proof leaves it out.
    nodes = [old_root, *proof] if old_size & (old_size - 1) == 0 else list(proof)
    if not nodes:
        return False
    position, last = old_size - 1, new_size - 1
    while position & 1:
        position >>= 1
        last >>= 1
    old = new = nodes[0]
    for node in nodes[1:]:
        if last == 0:
            return False
        if position & 1 or position == last:
            old, new = node_hash(node, old), node_hash(node, new)
            while position and not position & 1:
                position >>= 1
                last >>= 1
        else:
            new = node_hash(new, node)
        position >>= 1
        last >>= 1
    return last == 0 and old == old_root and new == new_root
