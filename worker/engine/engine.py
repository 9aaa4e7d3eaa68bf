"""Packs samples of all live sessions into batches of one fixed shape and runs the image tower.

A row's features depend on (key, sample index) and on f alone: not on the batch it travelled in, its
place there, or its neighbours. So chunk sizes, the mix of sessions and retries cannot change a
count (CERTIFICATE 4 and 6).
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from models.vlm import VLM
from worker.contract import ModelRef
from worker.engine.identity import create_identity
from worker.engine.protocol import (
    CountRange,
    EngineStatus,
    OpenSession,
    PromptsTuned,
    RangeCounted,
    SessionOpened,
    SessionRefused,
    TunePrompts,
    require_fitting,
)
from worker.engine.refusal import SessionNotServed
from worker.engine.selftest import spot_check
from worker.engine.session import Batch, Samples, Session, Taker
from worker.engine.texts import Classifiers, SessionTexts
from worker.engine.tuning import TuningTaker
from worker.engine.voting import VoteTaker
from worker.images_store import Image
from worker.sampling.kernel import sample_noisy_images
from worker.sampling.keys import KeyPurpose
from worker.sampling.table import NoiseTable, create_noise_table
from worker.sampling.words import NoiseKey


@dataclass(frozen=True, kw_only=True)
class Slice:
    """Consecutive rows of a batch that belong to one session."""

    session: Session
    samples: Samples
    offset: int

    @property
    def rows(self) -> slice:
        return slice(self.offset, self.offset + self.samples.count)

    @property
    def key(self) -> NoiseKey:
        return self.session.keys[self.samples.purpose]

    @property
    def table(self) -> NoiseTable:
        return self.session.tables[self.samples.sigma_index]


class Engine:
    """The models of one device, and the sessions that share it.

    `open`, `tune`, `close` and `request` may be called from any thread, `step` from one.
    """

    def __init__(self, vlms: Sequence[VLM]) -> None:
        self._vlms = {vlm.card.id: vlm for vlm in vlms}
        self._identities = {vlm.card.id: create_identity(vlm) for vlm in vlms}
        self._samples_per_s: dict[str, float] = {}
        self._classifiers = Classifiers()
        self._sessions: deque[Session] = deque()
        self._changed = threading.Condition()
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
            SessionNotServed: model unknown here, other weights, a prompt that is not for it, or an
                image of another size.
        """
        vlm = self._find_vlm(spec.model, spec.height, spec.width)
        require_fitting(spec, image)
        texts = SessionTexts(vlm, spec.prompts, self._classifiers)
        tau = self._identities[spec.model.id].tau
        voters = [[texts.create_voter(one, tau) for one in level] for level in spec.ballots]
        keys: dict[KeyPurpose, NoiseKey] = {entry.phase: entry.key for entry in spec.keys}
        return self._add(spec, image, vlm, keys, VoteTaker(voters, deliver))

    def tune(
        self,
        spec: TunePrompts,
        image: Image,
        deliver: Callable[[PromptsTuned | SessionRefused], None],
    ) -> Session:
        """A session that draws the noisy copies of an image and tunes prompts on them.

        The prompts go to `deliver`, called from the thread that steps. SessionNotServed as `open`.
        """
        vlm = self._find_vlm(spec.model, spec.height, spec.width)
        require_fitting(spec, image)
        texts = SessionTexts(vlm, spec.prompts, self._classifiers)
        starts = [texts.create_start(start) for start in spec.starts]
        taker = TuningTaker(vlm, starts, len(spec.sigmas), deliver)
        session = self._add(spec, image, vlm, {"adaptation": spec.key}, taker)
        copies = max(start.copies for start in starts)
        for level in range(len(spec.sigmas)):
            self._request(
                session, Samples(sigma_index=level, purpose="adaptation", start=0, stop=copies)
            )
        return session

    def _add(
        self,
        spec: OpenSession | TunePrompts,
        image: Image,
        vlm: VLM,
        keys: Mapping[KeyPurpose, NoiseKey],
        taker: Taker,
    ) -> Session:
        tables = tuple(create_noise_table(sigma) for sigma in spec.sigmas)
        opened = SessionOpened(
            identity=self._identities[spec.model.id],
            table_sha256={f"{table.sigma:f}": table.sha256 for table in tables},
        )
        session = Session(
            image=image, vlm=vlm, tables=tables, keys=keys, opened=opened, taker=taker
        )
        with self._changed:
            self._sessions.append(session)
        return session

    def _find_vlm(self, model: ModelRef, height: int, width: int) -> VLM:
        vlm = self._vlms.get(model.id)
        if vlm is None:
            raise SessionNotServed(
                "model_not_served", f"no worker of this host serves the model {model.id!r}"
            )
        if vlm.card.sha256 != model.sha256:
            raise SessionNotServed(
                "model_changed",
                f"the model {model.id!r} here is not the one the job names by its digest",
            )
        size = vlm.card.preprocessing.size
        if (height, width) != (size, size):
            raise SessionNotServed(
                "image_size_wrong", f"the model takes images of {size} x {size} pixels"
            )
        return vlm

    def close(self, session: Session) -> None:
        """Forgets a session; its pending ranges are not counted."""
        with self._changed:
            if session in self._sessions:
                self._sessions.remove(session)

    def request(self, session: Session, wanted: CountRange) -> None:
        """Queues a range of a session. ValueError when it names no noise level or no samples."""
        if wanted.sigma_index >= len(session.tables) or wanted.stop <= wanted.start:
            raise ValueError(f"no such range in this session: {wanted}")
        samples = Samples(
            sigma_index=wanted.sigma_index,
            purpose=wanted.phase,
            start=wanted.start,
            stop=wanted.stop,
        )
        self._request(session, samples)

    def _request(self, session: Session, samples: Samples) -> None:
        with self._changed:
            session.pending.append(samples)
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
        """Runs one batch and hands out its rows; False when there was nothing to do."""
        with self._changed:
            slices = list(self._pack())
        if not slices:
            return False
        self._step_began = time.monotonic()
        batch = self._run(slices)
        for part in slices:
            part.session.taker.take(part.samples, part.rows, batch)
        self._step_began = None
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
            drawn = session.draw(min(share, room - offset))
            if drawn is None:
                continue
            yield Slice(session=session, samples=drawn, offset=offset)
            offset += drawn.count
            mine.append(session)
        self._sessions.rotate(-1)  # whoever was first is last next time

    def _run(self, slices: Sequence[Slice]) -> Batch:
        """Noise for every slice, in one batch of the model's shape, through the image tower."""
        vlm = slices[0].session.vlm
        size, identity = vlm.card.preprocessing.size, self._identities[vlm.card.id]
        noisy = np.zeros((identity.batch_size, 3 * size * size), dtype=np.int16)
        undecided = np.zeros(identity.batch_size, dtype=np.bool_)
        for part in slices:
            undecided[part.rows] = _sample_rows(part, out=noisy[part.rows])
        self._batches += 1
        _spot_check(slices[self._batches % len(slices)], noisy, turn=self._batches)
        pixels = torch.from_numpy(noisy).reshape(-1, 3, size, size).to(vlm.device)  # (B, 3, H, W)
        with torch.inference_mode():
            return Batch(image_features=vlm.encode_images(pixels), undecided=undecided)


def _sample_rows(part: Slice, *, out: npt.NDArray[np.int16]) -> npt.NDArray[np.bool_]:
    image, start = part.session.image, part.samples.start
    return sample_noisy_images(image, part.key, part.table, start=start, out=out)


def _spot_check(part: Slice, batch: npt.NDArray[np.int16], *, turn: int) -> None:
    """Recomputes a few words of one slice by their definition; NoiseMismatch ends the engine."""
    image, start, out = part.session.image, part.samples.start, batch[part.rows]
    spot_check(image, part.key, part.table, start=start, out=out, turn=turn)
