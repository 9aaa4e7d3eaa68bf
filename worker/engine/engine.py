"""Packs the samples of all live sessions into batches of one fixed shape and runs the image tower.

The features of a row depend on (key, sample index), the image and f alone. They do not depend on
the batch, on the row's place there or on its neighbours. Chunk sizes, the mix of sessions and
retries therefore cannot change a count (CERTIFICATE 4 and 6).
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from worker.contract import EngineFigures, protocol
from worker.contract.image import Image
from worker.engine.probing import GradientProbe, PlainProbe, Probe
from worker.engine.runner.batch import Batch, Finish, Samples, Slice, Taker
from worker.engine.session import Session
from worker.engine.shelf.loaded_model import LoadedModel
from worker.engine.shelf.memory import measure_device_memory
from worker.engine.shelf.refusal import SessionNotServed
from worker.engine.shelf.shelf import Shelf
from worker.engine.texts import SessionTexts
from worker.engine.tuning import TuningTaker
from worker.engine.voting import VoteTaker
from worker.sampling.keys import KeyPurpose
from worker.sampling.table import create_noise_table
from worker.sampling.words import NoiseKey

OnWait = Callable[[], None]

_BATCH_OF_ALL = 4  # every fourth batch is filled as if no session were urgent


@dataclass(frozen=True, kw_only=True, eq=False)
class _UnderWay:
    """A batch that the device is computing, and the work that remains for each of its slices."""

    batch: Batch
    model_id: str
    finishes: tuple[tuple[Session, Finish], ...]

    def hand_out(self) -> None:
        """Waits for the device and finishes each slice whose session is still open."""
        self.batch.wait()
        for session, finish in self.finishes:
            if not session.closed:
                finish()


class Engine:
    """The models of one device, and the sessions that share it.

    `open`, `tune`, `probe`, `close` and `request` may be called from any thread, `step` from a
    single one.
    """

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._sessions: deque[Session] = deque()
        self._probes: deque[Probe] = deque()
        self._changed = threading.Condition()
        self._under_way: deque[_UnderWay] = deque()
        self._batches = 0
        self._figures = EngineFigures()
        self._step_began: float | None = None

    def status(self) -> protocol.EngineStatus:
        """The loaded models, their speed at warm-up, the state of all models, and figures."""
        loaded = self._shelf.list_loaded()
        return protocol.EngineStatus(
            models=tuple(model.identity for model in loaded),
            samples_per_s={model.identity.model.id: model.samples_per_s for model in loaded},
            states=self._shelf.list_states(),
            figures=self._figures.model_copy(
                update={"device_memory_bytes": measure_device_memory(self._shelf.device)}
            ),
        )

    def open(
        self,
        spec: protocol.OpenSession,
        image: Image,
        deliver: Callable[[protocol.RangeCounted], None],
        on_wait: OnWait = lambda: None,
    ) -> Session:
        """Opens a session. The thread that steps calls `deliver` with its counts.

        Waits until the model is loaded; see `Shelf.take` for `on_wait`.

        Raises:
            SessionNotServed: the model is unknown here, cannot be loaded or has another digest; a
                text or prompt does not fit the model; or the image has another size.
        """
        with self._taken(spec, image, on_wait) as model:
            texts = SessionTexts(model, spec.prompts, tau=spec.tau)
            voters = [[texts.create_voter(one) for one in level] for level in spec.ballots]
            keys: dict[KeyPurpose, NoiseKey] = {entry.phase: entry.key for entry in spec.keys}
            return self._add(spec, image, model, keys, VoteTaker(voters, deliver))

    def tune(
        self,
        spec: protocol.TunePrompts,
        image: Image,
        deliver: Callable[[protocol.PromptsTuned | protocol.SessionRefused], None],
        on_wait: OnWait = lambda: None,
    ) -> Session:
        """Opens a session that draws noisy copies of an image and tunes prompts on them.

        The thread that steps calls `deliver` with the prompts. Waiting and errors are as in `open`.
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

    def probe(
        self,
        spec: protocol.Probe,
        images: Image,
        deliver: Callable[[protocol.Answer], None],
        on_wait: OnWait = lambda: None,
    ) -> None:
        """Queues a question about f, which draws no certification noise.

        It is answered in slices, at most one between two batches. The thread that steps calls
        `deliver` with the answer. Waiting and errors are as in `open`.

        Args:
            spec: the question.
            images: uint8 (N, 3, H, W).
            deliver: takes the answer.
            on_wait: see `Shelf.take`.
        """
        with self._taken(spec, images[0], on_wait) as model:
            texts = SessionTexts(model, spec.prompts)
            match spec:
                case protocol.TakeGradient(text=text):
                    classifier = texts.create_classifier(text)
                    probe: Probe = GradientProbe(model, classifier, spec, images[0], deliver)
                case protocol.ClassifyImages(text=text):
                    voter = texts.create_voter(protocol.ClassBallot(text=text))
                    probe = PlainProbe(model, voter, images, deliver)
            with self._changed:
                self._probes.append(probe)
                self._changed.notify()

    @contextmanager
    def _taken(
        self,
        spec: protocol.OpenSession | protocol.TunePrompts | protocol.Probe,
        image: Image,
        on_wait: OnWait,
    ) -> Iterator[LoadedModel]:
        """Takes the model of a session, and gives it back at once if the session fails to open."""
        card = self._shelf.find_card(spec.model)
        size = card.preprocessing.size
        if (spec.height, spec.width) != (size, size):
            raise SessionNotServed(
                "image_size_wrong",
                f"the model takes images of {size} x {size} pixels, "
                f"got {spec.height} x {spec.width}",
            )
        protocol.require_fitting(spec, image)
        model = self._shelf.take(card, on_wait)
        try:
            yield model
        except BaseException:
            del model
            self._shelf.give_back(card.id)
            raise

    def _add(
        self,
        spec: protocol.OpenSession | protocol.TunePrompts,
        image: Image,
        model: LoadedModel,
        keys: Mapping[KeyPurpose, NoiseKey],
        taker: Taker,
    ) -> Session:
        tables = tuple(create_noise_table(sigma) for sigma in spec.sigmas)
        opened = protocol.SessionOpened(
            identity=model.identity,
            table_sha256={f"{table.sigma:f}": table.sha256 for table in tables},
        )
        session = Session(
            image=image,
            model=model,
            tables=tables,
            keys=keys,
            opened=opened,
            taker=taker,
            urgent=spec.urgent,
        )
        with self._changed:
            self._sessions.append(session)
        return session

    def close(self, session: Session) -> None:
        """Closes a session and gives back its model. Pending ranges are not counted."""
        with self._changed:
            if session not in self._sessions:
                return
            self._sessions.remove(session)
            session.closed = True
        self._shelf.give_back(session.model_id)

    def request(self, session: Session, wanted: protocol.CountRange) -> None:
        """Queues a range. Raises ValueError if its noise level is unknown or it has no samples."""
        if wanted.sigma_index >= len(session.tables) or wanted.stop <= wanted.start:
            raise ValueError(f"the session has no such range: {wanted}")
        samples = Samples(
            sigma_index=wanted.sigma_index,
            purpose=wanted.phase,
            start=wanted.start,
            stop=wanted.stop,
        )
        self._request(session, samples, ahead=wanted.ahead)

    def _request(self, session: Session, samples: Samples, *, ahead: bool = False) -> None:
        with self._changed:
            if ahead:
                session.prefetch(samples)
            else:
                session.want(samples)
            self._changed.notify()

    def wait_for_work(self, timeout_s: float) -> bool:
        """Waits until a session or a question has work; False if none has in time.

        Raises:
            DeviceLost: a load broke the device, so the engine has to end.
        """
        self._shelf.require_sound()
        with self._changed:
            return self._changed.wait_for(self._has_work, timeout_s)

    def _has_work(self) -> bool:
        return bool(self._under_way or self._probes) or any(map(_waits, self._sessions))

    @property
    def step_s(self) -> float:
        """Seconds since the current step began; 0 between steps."""
        began = self._step_began
        return 0.0 if began is None else time.monotonic() - began

    def step(self) -> bool:
        """Starts one batch, hands out the oldest and advances one question about f.

        Returns False if there was nothing to do.

        On a CPU a batch is computed by the time it has started, and its rows are handed out at
        once. A GPU computes in the background, so the host packs batches and decides looks
        meanwhile.
        """
        self._step_began = began = time.monotonic()
        started = self._start()
        ahead = 0 if started is None else started
        finished = len(self._under_way) > ahead
        if finished:
            self._finish()
        self._add_seconds(time.monotonic() - began)
        probed = self._advance_probe()
        self._step_began = None
        return started is not None or finished or probed

    def _add_seconds(self, seconds: float) -> None:
        batch_s = self._figures.batch_s + seconds
        self._figures = self._figures.model_copy(update={"batch_s": batch_s})

    def _add_batch(self, slices: Sequence[Slice], room: int) -> None:
        """Adds a batch to the figures shown to the operator."""
        so_far = self._figures
        self._figures = EngineFigures(
            batches=so_far.batches + 1,
            rows=so_far.rows + room,
            samples=so_far.samples + sum(part.samples.count for part in slices),
            batch_s=so_far.batch_s,
        )

    def _start(self) -> int | None:
        """Starts a batch and returns how many may stay unfinished; None if there is no work."""
        with self._changed:
            packed = list(self._pack())
            if not packed:
                return None
            model, model_id = packed[0][0].model, packed[0][0].model_id
            self._shelf.take_again(model_id)  # its sessions may close before the batch is done
        try:
            self._batches += 1
            slices = [part for _, part in packed]
            self._add_batch(slices, model.identity.batch_size)
            batch = model.runner.run(slices, turn=self._batches)
            finishes = [
                (session, session.taker.take(part.samples, part.rows, batch))
                for session, part in packed
            ]
            batch.send()
        except BaseException:
            self._shelf.give_back(model_id)
            raise
        under_way = _UnderWay(batch=batch, model_id=model_id, finishes=tuple(finishes))
        self._under_way.append(under_way)
        return model.batches_ahead

    def _finish(self) -> None:
        """Hands out the oldest batch and releases its model, which may have to leave the shelf."""
        under_way = self._under_way.popleft()
        model_id = under_way.model_id
        try:
            under_way.hand_out()
        finally:
            del under_way
            self._shelf.give_back(model_id)

    def _advance_probe(self) -> bool:
        """Runs a slice of the first question and sends it to the end of the line."""
        with self._changed:
            if not self._probes:
                return False
            probe = self._probes.popleft()
        model_id = probe.model.identity.model.id
        try:
            done = probe.step()
        except BaseException:
            self._shelf.give_back(model_id)
            raise
        if done:
            del probe
            self._shelf.give_back(model_id)
            return True
        with self._changed:
            self._probes.append(probe)
        return True

    def _pack(self) -> Iterator[tuple[Session, Slice]]:
        """Fills a batch with the sessions of one model in turn, a fair share of rows each.

        A session that was served goes to the end of the line. The first session in the line decides
        which model is next, so models take turns however many sessions each has. Urgent sessions
        come before the line, but not in every batch, so that the others go on. Spare rows go to
        samples that may be needed next.
        """
        waiting = [session for session in self._sessions if _waits(session)]
        if not waiting:
            return
        wanted = [session for session in waiting if session.pending]
        urgent = [one for one in wanted if one.urgent and self._batches % _BATCH_OF_ALL]
        first = next(iter((*urgent, *wanted, *waiting)))
        offset = 0
        for line, ahead in ((urgent, False), (self._sessions, False), (self._sessions, True)):
            for session, part in self._share(line, first.model, offset, ahead=ahead):
                yield session, part
                offset += part.samples.count

    def _share(
        self, line: Iterable[Session], model: LoadedModel, offset: int, *, ahead: bool
    ) -> Iterator[tuple[Session, Slice]]:
        mine = [one for one in line if one.model is model and one.queue(ahead)]
        room = model.identity.batch_size
        share = max(1, (room - offset) // max(1, len(mine)))
        while offset < room and mine:
            session = mine.pop(0)
            drawn = session.draw(min(share, room - offset), ahead=ahead)
            if drawn is None:
                continue
            yield session, session.lay(drawn, offset)
            offset += drawn.count
            mine.append(session)
            if not ahead:
                self._sessions.remove(session)
                self._sessions.append(session)


def _waits(session: Session) -> bool:
    """Whether a session has samples that are reason enough to run a batch.

    Samples that may be needed next are reason enough only on a device that computes while the host
    decides. On a CPU they would delay the next job.
    """
    return bool(session.pending) or (session.model.batches_ahead > 0 and bool(session.ahead))
