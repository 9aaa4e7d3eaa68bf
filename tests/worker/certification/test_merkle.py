"""The tree over votes: RFC 6962's, whichever way it grows."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.certification.merkle import VoteTree, _leaf, audit_path, path_leads_to

votes = st.lists(st.integers(-1, 99), min_size=1, max_size=70)


def test_small_trees_are_those_of_the_rfc():
    a, b, c = (_leaf(i, vote) for i, vote in enumerate((3, -1, 0)))

    def node(x, y):
        return hashlib.sha256(b"\1" + x + y).digest()

    assert _leaf(0, 3) == hashlib.sha256(b"\0" + bytes(8) + b"\0\3").digest()
    assert VoteTree().root == hashlib.sha256().hexdigest()
    assert VoteTree().appended([3]).root == a.hex()
    assert VoteTree().appended([3, -1]).root == node(a, b).hex()
    assert VoteTree().appended([3, -1, 0]).root == node(node(a, b), c).hex()


@given(votes, st.integers(0, 70))
def test_the_root_does_not_depend_on_how_the_tree_grew(found, cut):
    whole = VoteTree().appended(found)
    assert VoteTree().appended(found[:cut]).appended(found[cut:]) == whole
    assert whole.n == len(found)


@given(votes, st.data())
def test_every_vote_has_a_path_and_no_other_vote_has_it(found, data):
    index = data.draw(st.integers(0, len(found) - 1))
    root, path = VoteTree().appended(found).root, audit_path(found, index)
    common = {"n": len(found), "index": index, "path": path}
    assert path_leads_to(root, vote=found[index], **common)
    assert not path_leads_to(root, vote=found[index] + 1, **common)
    assert not path_leads_to(root, vote=found[index], n=len(found), index=index, path=(*path, b""))


@given(votes, st.data())
def test_a_changed_vote_changes_the_root(found, data):
    index = data.draw(st.integers(0, len(found) - 1))
    changed = [*found]
    changed[index] += 1
    assert VoteTree().appended(changed).root != VoteTree().appended(found).root


def test_peaks_that_make_no_tree_are_refused():
    with pytest.raises(ValueError, match="peaks"):
        VoteTree(n=3, peaks=(bytes(32),))
    with pytest.raises(ValueError, match="no vote 2"):
        audit_path([1, 1], 2)
