"""Which streams of votes a request has."""

from worker.contract import CertifyRequest
from worker.counting.contests import PHASES, create_contests, create_places
from worker.store.votes import votes_stream


def list_streams(request: CertifyRequest) -> tuple[str, ...]:
    """The names of all streams that a request's votes can be in."""
    ballots = create_places(create_contests(request))[-1].stop
    return tuple(
        votes_stream(sigma, phase, place)
        for sigma in request.sigmas
        for phase in PHASES
        for place in range(ballots)
    )
