"""The smoothed model at one noise level, under the prompt of a certificate."""

from decimal import Decimal
from typing import final

from worker.attack.target import Target
from worker.attack.victim import Glance, Prober
from worker.certification import Tally
from worker.certification.predict import predict
from worker.contract import protocol
from worker.contract.image import Image
from worker.contract.witness import WitnessSettings
from worker.sampling.words import NoiseKey

_SEARCH_ALPHA = 0.01  # of an answer on the way, which shows nothing


class Samples:
    """The samples of one key: none is used twice."""

    def __init__(self, key: NoiseKey) -> None:
        self.key = key
        self._next = 0

    def take(self, count: int) -> range:
        """The next samples."""
        first, self._next = self._next, self._next + count
        return range(first, self._next)


@final
class Smoothed:
    """A `Victim` that answers by votes, on the noise of the search.

    Gradients are means over noisy copies, fresh ones at each step (expectation over noise; Athalye
    et al., ICML 2018; Salman et al., NeurIPS 2019).

    Args:
        prober: the engine.
        target: the model and its text.
        sigma: the noise level.
        search: the samples of the search. They are not those of any certificate.
        settings: how many copies and votes.
    """

    at_once = 1

    def __init__(
        self,
        prober: Prober,
        target: Target,
        sigma: Decimal,
        search: Samples,
        settings: WitnessSettings,
    ) -> None:
        self._prober, self._target, self._sigma = prober, target, sigma
        self._search, self._settings = search, settings

    def glance(self, image: Image, class_index: int) -> Glance:
        """See `Victim`."""
        samples, key = self._search.take(self._settings.copies), self._search.key
        noise = protocol.ProbeNoise(
            sigma=self._sigma,
            low=key.low,
            high=key.high,
            start=samples.start,
            stop=samples.stop,
        )
        return self._target.glance(self._prober, image, class_index, noise)

    def answer(self, images: Image) -> tuple[int | None, ...]:
        """See `Victim`."""
        votes = self._settings.search_votes
        tallies = (self.count(one, self._search, votes)[0] for one in images)
        return tuple(predict(tally, alpha=_SEARCH_ALPHA) for tally in tallies)

    def count(
        self, image: Image, samples: Samples, votes: int
    ) -> tuple[Tally, protocol.SessionOpened]:
        """The votes of f on an image, counted as a certificate's are, and the f that voted."""
        taken, target = samples.take(votes), self._target
        session = protocol.OpenSession(
            model=target.model,
            height=image.shape[1],
            width=image.shape[2],
            prompts=target.prompts,
            tau=target.tau,
            sigmas=(self._sigma,),
            ballots=((protocol.ClassBallot(text=target.text),),),
            keys=(
                protocol.PhaseKey(phase="estimation", low=samples.key.low, high=samples.key.high),
            ),
        )
        opened = self._prober.open(session, image)
        self._prober.count(
            protocol.CountRange(
                sigma_index=0, phase="estimation", start=taken.start, stop=taken.stop
            )
        )
        tally = Tally.empty(len(target.text.class_names))
        while tally.n < votes:
            tally += self._prober.receive().tallies[0]
        return tally, opened
