"""When refused callers come again: the more of them, the later, and never all at once."""

from random import Random

import pytest

from app.server.middleware.backlog import Backlog


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def _mean_wait(*, finished: int, refused: int) -> float:
    backlog = Backlog(clock=Clock(), random=Random(7))
    for _ in range(finished):
        backlog.finish()
    return sum(backlog.refuse(0) for _ in range(refused)) / refused


def test_one_refusal_among_many_answers_is_asked_again_at_once():
    assert _mean_wait(finished=100, refused=1) == 1


def test_the_mean_wait_is_what_the_refused_need_at_the_rate_of_now():
    """100 in the last 10 s are 10 a second. While 300 are refused, 150 of them wait on average."""
    assert _mean_wait(finished=100, refused=300) == pytest.approx(15, abs=1.5)


def test_what_is_at_work_counts_as_soon_finished():
    backlog = Backlog(clock=Clock(), random=Random(7))
    assert backlog.refuse(at_work=32) == 1


def test_those_refused_at_one_moment_come_again_at_many():
    backlog = Backlog(clock=Clock(), random=Random(7))
    for _ in range(100):
        backlog.finish()
    waits = [backlog.refuse(0) for _ in range(200)][100:]
    assert max(waits.count(second) for second in waits) < 15


def test_what_was_long_ago_is_forgotten():
    clock = Clock()
    backlog = Backlog(clock=clock, random=Random(7))
    for _ in range(1000):
        backlog.refuse(0)
    clock.now += 300
    for _ in range(20):
        backlog.finish()
    assert backlog.refuse(0) == 1


def test_no_wait_is_longer_than_a_minute_even_where_nothing_is_finished():
    backlog = Backlog(clock=Clock(), random=Random(7))
    waits = [backlog.refuse(0) for _ in range(1000)]
    assert max(waits) == 60
    assert min(waits) >= 1
