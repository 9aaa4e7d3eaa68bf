"""Packs samples of all live sessions into batches of one fixed shape and runs the image tower.

A row's features depend on (key, sample index) and on f alone: not on the batch it travelled in, its
place there, or its neighbours. So chunk sizes, the mix of sessions and retries cannot change a
count (CERTIFICATE 4 and 6).
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from worker.contract import EngineFigures
from worker.engine.loaded_model import LoadedModel
from worker.engine.memory import measure_device_memory
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
from worker.engine.shelf import Shelf
from worker.engine.texts import SessionTexts
from worker.engine.tuning import TuningTaker
from worker.engine.voting import VoteTaker
from worker.images_store import Image
from worker.sampling.kernel import sample_noisy_images
from worker.sampling.keys import KeyPurpose
from worker.sampling.table import NoiseTable, create_noise_table
from worker.sampling.words import NoiseKey

OnWait = Callable[[], None]


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

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._sessions: deque[Session] = deque()
        self._changed = threading.Condition()
        self._batches = 0
        self._figures = EngineFigures()
        self._step_began: float | None = None

    def status(self) -> EngineStatus:
        """The models that are ready, their speed at warm-up, and what of the others is here."""
        loaded = self._shelf.list_loaded()
        return EngineStatus(
            models=tuple(model.identity for model in loaded),
            samples_per_s={
                model.identity.model.id: model.samples_per_s
                for model in loaded
                if model.samples_per_s is not None
            },
            states=self._shelf.list_states(),
            figures=self._figures.model_copy(
                update={"device_memory_bytes": measure_device_memory(self._shelf.device)}
            ),
        )

    def open(
        self,
        spec: OpenSession,
        image: Image,
        deliver: Callable[[RangeCounted], None],
        on_wait: OnWait = lambda: None,
    ) -> Session:
        """A session whose counts go to `deliver`, called from the thread that steps.

        Waits until the model is loaded; see `Shelf.take` for `on_wait`.

        Raises:
            SessionNotServed: a model that is unknown here or cannot be loaded, other weights, a
                prompt that is not for it, or an image of another size.
        """
        with self._taken(spec, image, on_wait) as model:
            texts = SessionTexts(model, spec.prompts)
            voters = [[texts.create_voter(one) for one in level] for level in spec.ballots]
            keys: dict[KeyPurpose, NoiseKey] = {entry.phase: entry.key for entry in spec.keys}
            return self._add(spec, image, model, keys, VoteTaker(voters, deliver))

    def tune(
        self,
        spec: TunePrompts,
        image: Image,
        deliver: Callable[[PromptsTuned | SessionRefused], None],
        on_wait: OnWait = lambda: None,
    ) -> Session:
        """A session that draws the noisy copies of an image and tunes prompts on them.

        The prompts go to `deliver`, called from the thread that steps. Otherwise as `open`.
        """
        with self._taken(spec, image, on_wait) as model:
            texts = SessionTexts(model, spec.prompts)
            starts = [texts.create_start(start) for start in spec.starts]
            taker = TuningTaker(model.vlm, starts, len(spec.sigmas), deliver)
            session = self._add(spec, image, model, {"adaptation": spec.key}, taker)
        copies = max(start.copies for start in starts)
        for level in range(len(spec.sigmas)):
            self._request(
                session, Samples(sigma_index=level, purpose="adaptation", start=0, stop=copies)
            )
        return session

    @contextmanager
    def _taken(
        self, spec: OpenSession | TunePrompts, image: Image, on_wait: OnWait
    ) -> Iterator[LoadedModel]:
        """The model of a session, given back at once if the session cannot be opened."""
        card = self._shelf.find_card(spec.model)
        size = card.preprocessing.size
        if (spec.height, spec.width) != (size, size):
            raise SessionNotServed(
                "image_size_wrong", f"the model takes images of {size} x {size} pixels"
            )
        require_fitting(spec, image)
        model = self._shelf.take(card, on_wait)
        try:
            yield model
        except BaseException:
            self._shelf.give_back(model)
            raise

    def _add(
        self,
        spec: OpenSession | TunePrompts,
        image: Image,
        model: LoadedModel,
        keys: Mapping[KeyPurpose, NoiseKey],
        taker: Taker,
    ) -> Session:
        tables = tuple(create_noise_table(sigma) for sigma in spec.sigmas)
        opened = SessionOpened(
            identity=model.identity,
            table_sha256={f"{table.sigma:f}": table.sha256 for table in tables},
        )
        session = Session(
            image=image, model=model, tables=tables, keys=keys, opened=opened, taker=taker
        )
        with self._changed:
            self._sessions.append(session)
        return session

    def close(self, session: Session) -> None:
        """Forgets a session and gives back its model; its pending ranges are not counted."""
        with self._changed:
            if session not in self._sessions:
                return
            self._sessions.remove(session)
        self._shelf.give_back(session.model)

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
        """Waits until some session has a range to count; False when none came in time.

        Raises whatever a load broke the device with: then the engine has to end.
        """
        self._shelf.require_sound()
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
            model = slices[0].session.model
            self._shelf.take_again(model)  # sessions may close meanwhile
        try:
            self._vote(slices)
        finally:
            self._shelf.give_back(model)
        return True

    def _vote(self, slices: Sequence[Slice]) -> None:
        self._step_began = began = time.monotonic()
        batch = self._run(slices)
        for part in slices:
            part.session.taker.take(part.samples, part.rows, batch)
        self._step_began = None
        self._count(slices, time.monotonic() - began)

    def _count(self, slices: Sequence[Slice], seconds: float) -> None:
        """What the operator sees of the batches so far."""
        so_far = self._figures
        self._figures = EngineFigures(
            batches=so_far.batches + 1,
            rows=so_far.rows + slices[0].session.model.identity.batch_size,
            samples=so_far.samples + sum(part.samples.count for part in slices),
            batch_s=so_far.batch_s + seconds,
        )

    def _pack(self) -> Iterator[Slice]:
        """Rows of one model's sessions in turn, a fair share each, until the batch is full.

        Whoever was served goes to the end of the line, and the first in the line says which model
        is next. So models take turns, however many sessions each has.
        """
        waiting = [session for session in self._sessions if session.pending]
        if not waiting:
            return
        model = waiting[0].model
        mine = [session for session in waiting if session.model is model]
        room = model.identity.batch_size
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
            self._sessions.remove(session)
            self._sessions.append(session)

    def _run(self, slices: Sequence[Slice]) -> Batch:
        """Noise for every slice, in one batch of the model's shape, through the image tower."""
        vlm, rows = slices[0].session.model.vlm, slices[0].session.model.identity.batch_size
        size = vlm.card.preprocessing.size
        noisy = np.zeros((rows, 3 * size * size), dtype=np.int16)
        undecided = np.zeros(rows, dtype=np.bool_)
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
