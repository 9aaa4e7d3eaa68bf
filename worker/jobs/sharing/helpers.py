"""Workers on other hosts, who are asked to count ranges of a certification."""

from redis import Redis

from worker.contract import CertificationJob, Identity
from worker.jobs import queue
from worker.jobs.sharing.ranges import RangeBoard
from worker.store import hosts

_MAX_HELPERS = 16  # asked at a time; those on a host that counts already end at once


class Helpers:
    """Asks other workers to help with the ranges of one board."""

    def __init__(self, redis: Redis, job: CertificationJob, board: RangeBoard) -> None:
        self._redis, self._job, self._board = redis, job, board

    def ask(self, identity: Identity, ranges: int) -> int:
        """Asks if a host has the same f and does not count yet; returns how many it asked."""
        able = sum(
            any(map(identity.merges_with, report.models))
            for report in hosts.list_workers(self._redis)
        )
        if ranges < 1 or able <= self._board.count_hosts():
            return 0
        return queue.ask_for_help(
            self._redis, self._job, self._board.run, at_most=min(ranges, _MAX_HELPERS)
        )
