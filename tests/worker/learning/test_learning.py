"""A prompt learned by a job: the same one whoever interrupts it, and at every worker's hand."""

import os
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from uuid import uuid4

import numpy as np
import psutil
import pytest
from descendants import find_descendants
from waiting import HANG_S, running, wait_until

from models.catalogue import load_catalogue
from models.prompts.cards import PromptCard
from models.prompts.learning_settings import create_learning_settings
from models.prompts.prompt import Prompt
from worker.contract import LEARNING_QUEUE_NAME, ModelRef
from worker.contract.image import image_sha256
from worker.contract.learning import (
    CancelledLearning,
    FailedLearning,
    FinishedLearning,
    LabelledImage,
    LearningJob,
    LearningRequest,
)
from worker.contract.prompt import EncodedPrompt
from worker.learning import store as learning_store
from worker.learning.process import run_order
from worker.learning.protocol import FailureReport, LearningOrder
from worker.learning.queue import get_status, submit_learning
from worker.learning.store import finish_learning
from worker.learning.task import LearnerDied, run_learning
from worker.store import keyspace, prompts
from worker.store.jobs import accepted, callbacks
from worker.store.jobs.callbacks import Callback

SIZE = 64
NAMES = ("dark image", "bright image")


@pytest.fixture
def submit(redis):
    """Queues a learning of a dark and a bright class, apart from what is said."""
    card = load_catalogue().get("bundled-2")
    rng = np.random.default_rng(0)
    images = [
        rng.integers(low, low + 100, (3, SIZE, SIZE)).astype(np.uint8) for low in (0, 0, 150, 150)
    ]

    def submit_one(*, prompt_id="light", epochs=3, learning_rate=0.02, **changes) -> LearningJob:
        settings = create_learning_settings("default", "A {} image.")
        fields = {
            "prompt_id": prompt_id,
            "model": ModelRef(id=card.id, sha256=card.sha256),
            "class_names": NAMES,
            "settings": replace(settings, shots=2, epochs=epochs, learning_rate=learning_rate),
            "size": SIZE,
            "images": tuple(
                LabelledImage(sha256=image_sha256(image), class_index=place // 2)
                for place, image in enumerate(images)
            ),
        }
        job = LearningJob(
            id=uuid4().hex,
            request=LearningRequest(**(fields | changes)),
            submitted_at=datetime.now(UTC),
        )
        submit_learning(redis, job, images, image_ttl_s=600, job_ttl_s=600)
        return job

    return submit_one


def test_a_job_becomes_a_prompt_that_every_worker_finds(redis, settings, submit):
    job = submit()
    assert get_status(redis, job.id) == "queued"
    run_learning(redis, settings, job.id)
    result = learning_store.find_result(redis, job.id)
    assert isinstance(result, FinishedLearning)
    card = prompts.find_card(redis, "light")
    assert card.sha256 == result.prompt_sha256
    assert (card.method, card.class_names, card.ctx_init) == ("few-shot", NAMES, None)
    assert (card.learning.shots, card.learning.epochs, card.learning.seed) == (2, 3, 1)
    assert prompts.find_prompt(redis, card.sha256).n_ctx == card.n_ctx
    curve = learning_store.find_curve(redis, job.id)
    assert [epoch.number for epoch in curve] == [1, 2, 3]
    assert curve[-1].loss == card.learning.loss
    assert redis.get(keyspace.learning_checkpoint(job.id)) is None
    assert accepted.count_open(redis, LEARNING_QUEUE_NAME) == 0


def test_a_learned_prompt_makes_its_webhook_due_with_the_result(redis, settings, submit):
    job = submit(epochs=1)
    told = Callback(
        kind="learning", job_id=job.id, owner="anonymous", url="http://r.example/", target="r"
    )
    callbacks.note_callback(redis, told, ttl_s=60)
    assert callbacks.list_targets(redis) == ()
    run_learning(redis, settings, job.id)
    (due,) = callbacks.claim_due(redis, "r", now=time.time(), lease_s=60.0, most=5)
    assert (due.kind, due.job_id, due.status) == ("learning", job.id, "finished")


@pytest.mark.long
def test_a_killed_learning_goes_on_and_gives_the_same_prompt(redis, settings, submit):
    epochs = 60  # of 20 ms: it is under way for long after the second one was seen
    whole = submit(prompt_id="whole", epochs=epochs)
    run_learning(redis, settings, whole.id)
    halted = submit(prompt_id="halted", epochs=epochs)
    with pytest.raises(LearnerDied):
        _kill_learner_after(redis, settings, halted, epochs=2)
    done = len(learning_store.find_curve(redis, halted.id))
    assert 2 <= done < epochs
    first = learning_store.find_curve(redis, halted.id)
    run_learning(redis, settings, halted.id)
    assert learning_store.find_curve(redis, halted.id)[:done] == first  # not learned again
    digests = {prompts.find_card(redis, name).sha256 for name in ("whole", "halted")}
    assert len(digests) == 1


def _kill_learner_after(redis, settings, job, *, epochs: int) -> None:
    """Runs a job whose learner is killed once so many epochs are stored."""

    def kill() -> None:
        wait_until(lambda: len(learning_store.find_curve(redis, job.id)) >= epochs, pause_s=0.001)
        _find_learner().kill()

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        run_learning(redis, settings, job.id)
    finally:
        thread.join()


def _find_learner() -> psutil.Process:
    (learner,) = _find_learners(psutil.Process())
    return learner


def _find_learners(parent: psutil.Process) -> list[psutil.Process]:
    return find_descendants(parent, "worker.learning.process")


@pytest.mark.long
def test_a_cancelled_learning_ends_without_a_prompt(redis, settings, submit):
    job = submit(epochs=500)
    runner = threading.Thread(target=run_learning, args=(redis, settings, job.id))
    runner.start()
    wait_until(lambda: learning_store.find_curve(redis, job.id))
    assert learning_store.put_result(redis, job.id, CancelledLearning(), ttl_s=60)
    runner.join(HANG_S)
    assert not runner.is_alive()
    assert get_status(redis, job.id) == "cancelled"
    assert prompts.find_card(redis, "light") is None
    assert _find_learners(psutil.Process()) == []
    run_learning(redis, settings, job.id)  # a second delivery does nothing
    assert prompts.find_card(redis, "light") is None


def test_a_learning_is_cancelled_or_has_its_prompt_whichever_comes_first(redis):
    """A cancel at the very end: never cancelled with a prompt, never finished without one."""
    with ThreadPoolExecutor(1) as other:
        for number in range(200):
            learning_id, prompt_id = f"{number:032x}", f"light-{number}"
            card, prompt = create_prompt(prompt_id)
            finishing = other.submit(finish_learning, redis, learning_id, card, prompt, ttl_s=60)
            if number == 0:
                finishing.result()
            time.sleep(number % 20 * 1e-4)
            cancels = learning_store.put_result(redis, learning_id, CancelledLearning(), ttl_s=60)
            finishes, found = finishing.result(), learning_store.find_result(redis, learning_id)
            assert finishes != cancels
            assert found.status == ("finished" if finishes else "cancelled")
            assert (prompts.find_card(redis, prompt_id) is not None) == finishes
            assert prompts.is_taken(redis, prompt_id) == finishes


def test_a_cancelled_learning_cannot_finish_and_takes_no_id(redis):
    learning_store.put_result(redis, "0" * 32, CancelledLearning(), ttl_s=60)
    assert not finish_learning(redis, "0" * 32, *create_prompt("light"), ttl_s=60)
    assert not prompts.is_taken(redis, "light")


def test_an_id_that_is_taken_leaves_the_learning_without_a_result(redis):
    redis.hset(keyspace.PROMPT_IDS, "light", "0" * 64)
    with pytest.raises(prompts.PromptIdTaken):
        finish_learning(redis, "0" * 32, *create_prompt("light"), ttl_s=60)
    assert learning_store.find_result(redis, "0" * 32) is None
    assert prompts.list_cards(redis) == ()


def create_prompt(prompt_id: str) -> tuple[PromptCard, EncodedPrompt]:
    prompt = Prompt(ctx=np.zeros((4, 64), dtype=np.float32))
    card = PromptCard(
        id=prompt_id,
        model="bundled-2",
        weights_sha256="0" * 64,
        method="few-shot",
        class_names=NAMES,
        n_ctx=4,
        width=64,
        suffix=prompt.suffix,
        sha256=prompt.sha256,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    return card, EncodedPrompt.of(prompt)


def test_a_checkpoint_that_cannot_be_used_is_a_new_beginning(redis, settings, submit):
    job = submit()
    redis.set(keyspace.learning_checkpoint(job.id), b"damaged")
    run_learning(redis, settings, job.id)
    assert get_status(redis, job.id) == "finished"
    assert len(learning_store.find_curve(redis, job.id)) == 3


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"model": ModelRef(id="bundled-2", sha256="0" * 64)}, "model_changed"),
        ({"model": ModelRef(id="none", sha256="0" * 64)}, "model_not_served"),
        ({"learning_rate": 1e30}, "learning_impossible"),
        ({"class_names": ("dark " * 90, "bright")}, "learning_impossible"),
        ({"class_names": ("dark & dim", "dark &amp; dim")}, "learning_impossible"),
    ],
)
def test_what_would_fail_again_is_said_and_not_tried_again(settings, submit, changes, code):
    request = submit(**changes).request
    pixels = np.zeros((len(request.images), 3, SIZE, SIZE), dtype=np.uint8)
    order, reports = LearningOrder(request=request, pixels=pixels, resume=None), []
    run_order(order, settings, reports.append)
    assert isinstance(reports[-1], FailureReport)
    assert reports[-1].failure.code == code


def test_a_taken_id_and_an_expired_image_are_results_and_no_retries(redis, settings, submit):
    first, second = submit(), submit()
    redis.hset(keyspace.PROMPT_IDS, "light", "0" * 64)
    run_learning(redis, settings, first.id)
    result = learning_store.find_result(redis, first.id)
    assert isinstance(result, FailedLearning)
    assert result.failure.code == "prompt_id_taken"
    assert prompts.list_cards(redis) == ()
    redis.delete(keyspace.image(second.request.images[0].sha256))
    run_learning(redis, settings, second.id)
    assert learning_store.find_result(redis, second.id).failure.code == "image_expired"


@pytest.mark.long
def test_a_learning_runs_through_rq_and_its_learner_ends_with_the_worker(redis, settings, submit):
    """The stock forking worker on the queue of learnings; killed, it leaves no learner behind."""
    short, long = submit(prompt_id="short"), submit(prompt_id="long", epochs=500)
    environment = {**os.environ, "REDIS_URL": settings.redis_url.get_secret_value()}
    command = [sys.executable, "-m", "worker.rq_worker", LEARNING_QUEUE_NAME]
    with running(command, env=environment) as process:
        wait_until(lambda: learning_store.find_curve(redis, long.id))
        assert (get_status(redis, short.id), get_status(redis, long.id)) == ("finished", "running")
        (learner,) = _find_learners(psutil.Process(process.pid))
        os.kill(process.pid, signal.SIGKILL)
        learner.wait(timeout=HANG_S)
    assert prompts.find_card(redis, "short") is not None
    assert prompts.find_card(redis, "long") is None
