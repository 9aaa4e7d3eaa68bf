"""The witness of a finished certification: for each certificate, the smallest changes found."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import ROUND_FLOOR, Decimal
from typing import Any, final

from worker.attack.grid import distance, lies_within
from worker.attack.search import Missed, Ray, find_ray
from worker.attack.smoothed import Samples, Smoothed
from worker.attack.statement import create_statement
from worker.attack.target import Target
from worker.attack.undefended import Undefended
from worker.attack.victim import Prober
from worker.attack.watched import TimeEnded, Watched
from worker.certification.predict import predict
from worker.contract import protocol
from worker.contract.certificate.document import FinishedResult, LookCounts, find_alpha
from worker.contract.image import Image, image_sha256
from worker.contract.witness import (
    CertificateWitness,
    Changed,
    FinishedWitness,
    NotAsked,
    NothingFound,
    Search,
    WitnessSettings,
)
from worker.counting.recorded import create_prompts, describe_f, require_certified, rested_on
from worker.counting.records.files import FindPrompt
from worker.counting.roll import Roll
from worker.engine.client import EngineRefused
from worker.engine.shelf.refusal import SessionNotServed
from worker.settings import WorkerSettings

_TRIES = (1.0, 1.03, 1.08)  # of the distance found; the error probability is divided among them
_LEAST_START = 0.05  # in the units of certificates


@dataclass(frozen=True, kw_only=True)
class Found:
    """A witness, and its images by their digests."""

    witness: FinishedWitness
    images: Mapping[str, Image]


def read_settings(settings: WorkerSettings) -> WitnessSettings:
    """How hard this host looks."""
    return WitnessSettings(
        steps=settings.witness_steps,
        copies=settings.witness_copies,
        votes=settings.witness_votes,
    )


def find_witness(
    result: FinishedResult,
    image: Image,
    roll: Roll,
    *,
    prober: Prober,
    find_prompt: FindPrompt,
    settings: WitnessSettings,
    on_step: Callable[[], None] = lambda: None,
    clock: Callable[[], float] = time.monotonic,
) -> Found:
    """Looks for the smallest changes that change the answers of a finished certification.

    What is found at a distance says that the answer there is another one. It says nothing about
    smaller distances. The same roll and settings find the same, unless time ends.

    Args:
        result: the finished certification.
        image: the certified image, uint8 (3, H, W).
        roll: its request and the secret. Only the keys of `attack` and `witness` are used.
        prober: the engine.
        find_prompt: the prompts that certificates name, by digest.
        settings: how hard to look.
        on_step: called before each question to the engine. It ends the search if it raises
            `TimeEnded`; what was found stands, and the rest says that time ended.
        clock: tells the seconds.

    Raises:
        NotReproducible: another image than the certified one, or a prompt is not at hand.
    """
    require_certified(result, image)
    began = clock()
    search = _Search(
        result=result,
        image=image,
        prober=Watched(prober, on_step),
        find_prompt=find_prompt,
        settings=settings,
        samples=Samples(roll.attack_key),
        shown=Samples(roll.witness_key),
    )
    witnesses = tuple(search.run())
    return Found(
        witness=FinishedWitness(
            settings=settings,
            alpha=Decimal(str(max(map(find_alpha, result.certificates)))),
            noise_key=roll.witness_key.text,
            other_f=search.other_f,
            witnesses=witnesses,
            seconds=round(clock() - began, 3),
            finished_at=datetime.now(UTC),
        ),
        images=search.images,
    )


@final
@dataclass(kw_only=True, eq=False)
class _Search:
    result: FinishedResult
    image: Image
    prober: Prober
    find_prompt: FindPrompt
    settings: WitnessSettings
    samples: Samples
    shown: Samples
    images: dict[str, Image] = field(default_factory=dict)
    other_f: str | None = None
    _plain: dict[protocol.Text, tuple[int | None, Search]] = field(default_factory=dict)

    def run(self) -> Iterator[CertificateWitness]:
        for place, entry in enumerate(self.result.certificates):
            yield self._judge(place, entry)

    def _judge(self, place: int, entry: Any) -> CertificateWitness:
        certified = entry.outcome == "certified"
        target = None if entry.routing is not None else self._find_target(entry)
        smoothed = self._or_not_asked(lambda: self._attack_smoothed(entry, target))
        answer, undefended = self._find_undefended(entry, target)
        fields = {
            "certificate": place,
            "sigma": entry.sigma,
            "prediction": entry.prediction if certified else None,
            "radius": entry.radius if certified else None,
            "smoothed": smoothed,
            "undefended_prediction": None if answer is None else entry.class_names[answer],
            "undefended": undefended,
            "alarm": certified and self._is_inside(smoothed, entry.radius),
        }
        unspoken = CertificateWitness(**fields, statement="")
        return unspoken.model_copy(update={"statement": create_statement(unspoken, self.other_f)})

    def _is_inside(self, search: Search, radius: Decimal) -> bool:
        if not isinstance(search, Changed):
            return False
        return lies_within(self.images[search.image_sha256], self.image, radius)

    def _or_not_asked(self, attack: Callable[[], Search]) -> Search:
        """What the attack finds; that it was not asked, where it cannot be or time has ended."""
        try:
            return attack()
        except TimeEnded:
            return NotAsked(reason="time_ended")
        except (EngineRefused, SessionNotServed) as refused:
            match refused.failure.code:
                case "no_gradient" | "gives_no_gradient" as reason:
                    return NotAsked(reason=reason)
            raise

    # --- The smoothed model ---

    def _attack_smoothed(self, entry: Any, target: Target | None) -> Search:
        if entry.outcome != "certified":
            return NotAsked(reason="abstained")
        if target is None:
            return NotAsked(reason="routed")
        victim = Smoothed(self.prober, target, entry.sigma, self.samples, self.settings)
        start = 255 * max(float(entry.radius), _LEAST_START)
        ray = find_ray(
            victim, self.image, entry.class_index, start=start, steps=self.settings.steps
        )
        if isinstance(ray, Missed):
            return _nothing(ray.farthest)
        return self._show(victim, ray, entry)

    def _show(self, victim: Smoothed, ray: Ray, entry: Any) -> Search:
        """Counts votes on fresh noise at the distance found, and a little beyond it."""
        alpha = find_alpha(entry) / len(_TRIES)
        for factor in _TRIES:
            changed = ray.at(factor * ray.levels)
            tally, opened = victim.count(changed, self.shown, self.settings.votes)
            self.other_f = self.other_f or describe_f(self.result, opened)
            answer = predict(tally, alpha=alpha)
            if answer is not None and answer != entry.class_index:
                return self._change(changed, answer, entry, votes=LookCounts.of(tally))
        return NothingFound(farthest=_round_down(ray.levels), unconfirmed=True)

    # --- The undefended model ---

    def _find_undefended(self, entry: Any, target: Target | None) -> tuple[int | None, Search]:
        """The model's own answer and its change: the same at every noise level of one text."""
        if target is None:
            return None, NotAsked(reason="routed")
        if target.text not in self._plain:
            self._plain[target.text] = self._attack_undefended(entry, target)
        return self._plain[target.text]

    def _attack_undefended(self, entry: Any, target: Target) -> tuple[int | None, Search]:
        victim = Undefended(self.prober, target)
        answer: int | None = None

        def attack() -> Search:
            nonlocal answer
            (answer,) = victim.answer(self.image[None])
            if answer is None:
                return NotAsked(reason="near_tie")
            start, steps = 255 * _LEAST_START, self.settings.steps
            ray = find_ray(victim, self.image, answer, start=start, steps=steps)
            if isinstance(ray, Missed):
                return _nothing(ray.farthest)
            return self._change(ray.at(ray.levels), ray.answer, entry)

        found = self._or_not_asked(attack)
        return answer, found

    # --- Both ---

    def _change(
        self, changed: Image, answer: int, entry: Any, votes: LookCounts | None = None
    ) -> Changed:
        sha256 = image_sha256(changed)
        self.images[sha256] = changed
        return Changed(
            class_index=answer,
            prediction=entry.class_names[answer],
            distance=distance(changed, self.image),
            image_sha256=sha256,
            votes=votes,
        )

    def _find_target(self, entry: Any) -> Target:
        (rested,) = rested_on(entry)
        assert isinstance(rested.ballot, protocol.ClassBallot), "only a bank has another ballot"
        named = () if entry.prompt is None else (entry.prompt,)
        prompts = create_prompts(named, self.find_prompt)
        return Target(
            model=self.result.model,
            tau=self.result.provenance.tau or 0.0,
            text=rested.ballot.text,
            prompts=prompts,
        )


def _nothing(levels: float) -> NothingFound:
    return NothingFound(farthest=_round_down(levels))


def _round_down(levels: float) -> Decimal:
    """A distance in the units of certificates, which is never more than what was looked at."""
    return Decimal(repr(levels / 255)).quantize(Decimal("0.000001"), ROUND_FLOOR)
