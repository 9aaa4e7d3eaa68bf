"""A Merkle tree over per-sample votes: one hash that fixes every vote.

The tree is that of RFC 6962 (section 2.1) with SHA-256. Leaf i holds the sample's index and its
vote: a class index, or -1 for none. A tree grows by appending, so after a crash the roots of its
complete subtrees are enough to continue it.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

NO_VOTE = -1


def _leaf(index: int, vote: int) -> bytes:
    data = index.to_bytes(8, "big") + vote.to_bytes(2, "big", signed=True)
    return hashlib.sha256(b"\0" + data).digest()


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\1" + left + right).digest()


@dataclass(frozen=True, kw_only=True)
class VoteTree:
    """The tree over the votes of samples 0 .. n - 1.

    Attributes:
        n: number of votes.
        peaks: roots of the complete subtrees, largest first; one for each set bit of n.
    """

    n: int = 0
    peaks: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        if len(self.peaks) != self.n.bit_count() or any(len(peak) != 32 for peak in self.peaks):
            raise ValueError(f"{len(self.peaks)} peaks do not make a tree over {self.n} votes")

    def appended(self, votes: Sequence[int]) -> "VoteTree":
        """The tree with the votes of samples n, n + 1, ... appended."""
        peaks, n = list(self.peaks), self.n
        for vote in votes:
            node, carry = _leaf(n, vote), n
            while carry & 1:  # like the carry of a binary counter
                node = _node(peaks.pop(), node)
                carry >>= 1
            peaks.append(node)
            n += 1
        return VoteTree(n=n, peaks=tuple(peaks))

    @property
    def root(self) -> str:
        """The Merkle tree hash in hexadecimal. For no votes it is the SHA-256 of no bytes."""
        if not self.peaks:
            return hashlib.sha256().hexdigest()
        *rest, root = self.peaks
        for peak in reversed(rest):
            root = _node(peak, root)
        return root.hex()


def audit_path(votes: Sequence[int], index: int) -> tuple[bytes, ...]:
    """The hashes that lead from leaf `index` to the root, from the leaf's sibling upwards.

    Raises:
        ValueError: there is no vote at `index`.
    """
    if not 0 <= index < len(votes):
        raise ValueError(f"there is no vote {index} among {len(votes)}")
    return _path([_leaf(i, vote) for i, vote in enumerate(votes)], index)


def _path(leaves: Sequence[bytes], index: int) -> tuple[bytes, ...]:
    if len(leaves) == 1:
        return ()
    k = _split(len(leaves))
    if index < k:
        return (*_path(leaves[:k], index), _root(leaves[k:]))
    return (*_path(leaves[k:], index - k), _root(leaves[:k]))


def _root(leaves: Sequence[bytes]) -> bytes:
    if len(leaves) == 1:
        return leaves[0]
    k = _split(len(leaves))
    return _node(_root(leaves[:k]), _root(leaves[k:]))


def _split(n: int) -> int:
    """The largest power of two below n."""
    return 1 << (n - 1).bit_length() - 1


def path_leads_to(root: str, *, n: int, index: int, vote: int, path: Sequence[bytes]) -> bool:
    """Whether `vote` is the vote of sample `index` in the tree over n votes with this root."""
    if not 0 <= index < n or not -1 <= vote < 2**15:
        return False
    found = _climb(_leaf(index, vote), n, index, list(path))
    return found is not None and found.hex() == root


def _climb(leaf: bytes, n: int, index: int, path: list[bytes]) -> bytes | None:
    if n == 1:
        return leaf if not path else None
    if not path:
        return None
    sibling, k = path.pop(), _split(n)
    if index < k:
        below = _climb(leaf, k, index, path)
        return None if below is None else _node(below, sibling)
    below = _climb(leaf, n - k, index - k, path)
    return None if below is None else _node(sibling, below)
