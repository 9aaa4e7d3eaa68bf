"""Packs samples of all live sessions into batches of one fixed shape, runs f and counts votes.

A row's votes depend on (key, sample index) and on f alone: not on the batch it travelled in, its
place there, or its neighbours. So chunk sizes, the mix of sessions and retries cannot change a
count (CERTIFICATE 4 and 6).
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch

from models.base_classifier import BaseClassifier, create_base_classifier
from models.vlm import VLM
from worker.certification.merkle import NO_VOTE
from worker.contract import Failure, Identity, Target
from worker.engine.identity import create_identity
from worker.engine.protocol import (
    CountRange,
    EngineStatus,
    OpenSession,
    RangeCounted,
    SessionOpened,
    encode_votes,
    require_fitting,
)
from worker.engine.selftest import spot_check
from worker.images_store import Image
from worker.sampling.kernel import sample_noisy_images
from worker.sampling.table import NoiseTable, create_noise_table
from worker.sampling.words import NoiseKey

_MAX_CLASSIFIERS = 256


class SessionNotServed(ValueError):
    """The engine cannot serve a session, now or later."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.failure = Failure(code=code, detail=detail)


@dataclass(kw_only=True, eq=False)
class Session:
    """One image, its noise tables and keys, and the ranges still to be counted."""

    spec: OpenSession
    image: Image
    vlm: VLM
    classifiers: tuple[BaseClassifier, ...]
    tables: tuple[NoiseTable, ...]
    opened: SessionOpened
    deliver: Callable[[RangeCounted], None]
    pending: deque[CountRange] = field(default_factory=deque)

    def take(self, limit: int) -> CountRange | None:
        """The next samples of this session, at most `limit` of them."""
        if not self.pending:
            return None
        first = self.pending.popleft()
        stop = min(first.stop, first.start + limit)
        if stop < first.stop:
            self.pending.appendleft(first.model_copy(update={"start": stop}))
        return first.model_copy(update={"stop": stop})


@dataclass(frozen=True, kw_only=True)
class Slice:
    """Consecutive rows of a batch that belong to one session."""

    session: Session
    range: CountRange
    offset: int

    @property
    def rows(self) -> slice:
        return slice(self.offset, self.offset + self.range.stop - self.range.start)

    @property
    def key(self) -> NoiseKey:
        (key,) = (entry.key for entry in self.session.spec.keys if entry.phase == self.range.phase)
        return key

    @property
    def table(self) -> NoiseTable:
        return self.session.tables[self.range.sigma_index]


class Engine:
    """The models of one device, and the sessions that share it.

    `open`, `close` and `request` may be called from any thread, `step` from one.
    """

    def __init__(self, vlms: Sequence[VLM]) -> None:
        self._vlms = {vlm.card.id: vlm for vlm in vlms}
        self._identities = {vlm.card.id: create_identity(vlm) for vlm in vlms}
        self._samples_per_s: dict[str, float] = {}
        self._classifiers: dict[tuple[str, Target], BaseClassifier] = {}
        self._sessions: deque[Session] = deque()
        self._changed = threading.Condition()
        self._classifier_lock = threading.Lock()
        self._batches = 0
        self._step_began: float | None = None

    def warm_up(self) -> None:
        """Runs every model at its batch shape, so that no user's request is the first."""
        for model_id, vlm in self._vlms.items():
            size, rows = vlm.card.preprocessing.size, self._identities[model_id].batch_size
            pixels = torch.zeros((rows, 3, size, size), dtype=torch.int16, device=vlm.device)
            with torch.inference_mode():
                vlm.encode_images(pixels).cpu()
                started = time.perf_counter()
                vlm.encode_images(pixels).cpu()
            self._samples_per_s[model_id] = rows / (time.perf_counter() - started)

    def status(self) -> EngineStatus:
        """The models that are ready, and their speed at warm-up."""
        return EngineStatus(
            models=tuple(self._identities.values()), samples_per_s=dict(self._samples_per_s)
        )

    def open(
        self, spec: OpenSession, image: Image, deliver: Callable[[RangeCounted], None]
    ) -> Session:
        """A session whose counts go to `deliver`, called from the thread that steps.

        Raises:
            SessionNotServed: model unknown here, other weights, or an image of another size.
        """
        vlm = self._find_vlm(spec)
        require_fitting(spec, image)
        tables = tuple(create_noise_table(sigma) for sigma in spec.sigmas)
        opened = SessionOpened(
            identity=self._identities[spec.model.id],
            table_sha256={f"{table.sigma:f}": table.sha256 for table in tables},
        )
        session = Session(
            spec=spec,
            image=image,
            vlm=vlm,
            classifiers=tuple(self._classifier(vlm, target) for target in spec.targets),
            tables=tables,
            opened=opened,
            deliver=deliver,
        )
        with self._changed:
            self._sessions.append(session)
        return session

    def _find_vlm(self, spec: OpenSession) -> VLM:
        vlm = self._vlms.get(spec.model.id)
        if vlm is None:
            raise SessionNotServed(
                "model_not_served",
                f"no worker of this host serves the model {spec.model.id!r}",
            )
        if vlm.card.sha256 != spec.model.sha256:
            raise SessionNotServed(
                "model_changed",
                f"the model {spec.model.id!r} here is not the one the job names by its digest",
            )
        size = vlm.card.preprocessing.size
        if (spec.height, spec.width) != (size, size):
            raise SessionNotServed(
                "image_size_wrong", f"the model takes images of {size} x {size} pixels"
            )
        return vlm

    def _classifier(self, vlm: VLM, target: Target) -> BaseClassifier:
        """The classifier of a target; its text features are computed once."""
        with self._classifier_lock:
            return self._find_or_create_classifier(vlm, target)

    def _find_or_create_classifier(self, vlm: VLM, target: Target) -> BaseClassifier:
        key = (vlm.card.id, target)
        found = self._classifiers.get(key)
        if found is None:
            try:
                with torch.inference_mode():
                    found = create_base_classifier(vlm, target.template, target.class_names)
            except ValueError as error:  # a text longer than the model reads
                raise SessionNotServed("text_unusable", str(error)) from error
            while len(self._classifiers) >= _MAX_CLASSIFIERS:
                self._classifiers.pop(next(iter(self._classifiers)), None)
            self._classifiers[key] = found
        return found

    def close(self, session: Session) -> None:
        """Forgets a session; its pending ranges are not counted."""
        with self._changed:
            if session in self._sessions:
                self._sessions.remove(session)

    def request(self, session: Session, wanted: CountRange) -> None:
        """Queues a range of a session. ValueError when it names no noise level or no samples."""
        if wanted.sigma_index >= len(session.tables) or wanted.stop <= wanted.start:
            raise ValueError(f"no such range in this session: {wanted}")
        with self._changed:
            session.pending.append(wanted)
            self._changed.notify()

    def wait_for_work(self, timeout_s: float) -> bool:
        """Waits until some session has a range to count; False when none came in time."""
        with self._changed:
            return self._changed.wait_for(
                lambda: any(session.pending for session in self._sessions), timeout_s
            )

    @property
    def step_s(self) -> float:
        """Seconds since the step under way began; 0 between steps."""
        began = self._step_began
        return 0.0 if began is None else time.monotonic() - began

    def step(self) -> bool:
        """Counts one batch and delivers its votes; False when there was nothing to do."""
        with self._changed:
            slices = list(self._pack())
        if not slices:
            return False
        self._step_began = time.monotonic()
        votes = self._run(slices)
        self._step_began = None
        for part, part_votes in zip(slices, votes, strict=True):
            part.session.deliver(_count(part, part_votes))
        return True

    def _pack(self) -> Iterator[Slice]:
        """Rows of one model's sessions in turn, a fair share each, until the batch is full."""
        waiting = [session for session in self._sessions if session.pending]
        if not waiting:
            return
        vlm = waiting[0].vlm
        mine = [session for session in waiting if session.vlm is vlm]
        room = self._identities[vlm.card.id].batch_size
        share = max(1, room // len(mine))
        offset = 0
        while offset < room and mine:
            session = mine.pop(0)
            taken = session.take(min(share, room - offset))
            if taken is None:
                continue
            yield Slice(session=session, range=taken, offset=offset)
            offset += taken.stop - taken.start
            mine.append(session)
        self._sessions.rotate(-1)  # whoever was first is last next time

    def _run(self, slices: Sequence[Slice]) -> list[list[npt.NDArray[np.int64]]]:
        """Votes of every slice: per target, one class index or NO_VOTE a row."""
        vlm = slices[0].session.vlm
        size, identity = vlm.card.preprocessing.size, self._identities[vlm.card.id]
        batch = np.zeros((identity.batch_size, 3 * size * size), dtype=np.int16)
        undecided = np.zeros(identity.batch_size, dtype=np.bool_)
        for part in slices:
            undecided[part.rows] = _sample_rows(part, out=batch[part.rows])
        self._batches += 1
        _spot_check(slices[self._batches % len(slices)], batch, turn=self._batches)
        pixels = torch.from_numpy(batch).reshape(-1, 3, size, size).to(vlm.device)  # (B, 3, H, W)
        with torch.inference_mode():
            image_features = vlm.encode_images(pixels)  # (B, D)
            return [
                [
                    _votes(classifier.logits(image_features), identity, undecided)[part.rows]
                    for classifier in part.session.classifiers
                ]
                for part in slices
            ]


def _sample_rows(part: Slice, *, out: npt.NDArray[np.int16]) -> npt.NDArray[np.bool_]:
    image, start = part.session.image, part.range.start
    return sample_noisy_images(image, part.key, part.table, start=start, out=out)


def _spot_check(part: Slice, batch: npt.NDArray[np.int16], *, turn: int) -> None:
    """Recomputes a few words of one slice by their definition; NoiseMismatch ends the engine."""
    image, start, out = part.session.image, part.range.start, batch[part.rows]
    spot_check(image, part.key, part.table, start=start, out=out, turn=turn)


def _votes(
    logits: torch.Tensor, identity: Identity, undecided: npt.NDArray[np.bool_]
) -> npt.NDArray[np.int64]:
    """The arg-max of each row, or NO_VOTE where it is not safe.

    Not safe: the two largest logits differ by tau or less, any logit is not finite, or a noise
    word decided nothing.
    """
    top = logits.topk(2, dim=1)  # (B, 2)
    clear = (top.values[:, 0] - top.values[:, 1]) > identity.tau  # NaN is never greater
    clear &= torch.isfinite(logits).all(dim=1)
    votes: npt.NDArray[np.int64] = torch.where(clear, top.indices[:, 0], NO_VOTE).cpu().numpy()
    votes[undecided] = NO_VOTE
    return votes


def _count(part: Slice, votes: Sequence[npt.NDArray[np.int64]]) -> RangeCounted:
    classes = [classifier.num_classes for classifier in part.session.classifiers]
    counts = [
        np.bincount(target[target != NO_VOTE], minlength=c)
        for target, c in zip(votes, classes, strict=True)
    ]
    return RangeCounted(
        sigma_index=part.range.sigma_index,
        phase=part.range.phase,
        start=part.range.start,
        stop=part.range.stop,
        counts=tuple(tuple(c.tolist()) for c in counts),
        ambiguous=tuple(int((target == NO_VOTE).sum()) for target in votes),
        votes=tuple(encode_votes(target) for target in votes),
    )
