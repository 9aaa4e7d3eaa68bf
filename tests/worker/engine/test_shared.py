"""One engine for several threads gives what it gives to one."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from waiting import HANG_S

from worker.contract import CohenParameters, TemplateTarget, ZeroShotTarget
from worker.counting.certify import certify
from worker.counting.records.protocol import Unrecorded
from worker.counting.roll import Roll
from worker.engine.engine import Engine
from worker.engine.local import LocalCounter
from worker.engine.shared import EngineEnded, SharedEngine

SECRET = b"s" * 32


def run(counter, request, image):
    return certify(Roll(request, SECRET), image, counter=counter, records=Unrecorded())


def test_certificates_do_not_depend_on_who_shares_the_engine(engine, create_request):
    asked = [create_request(seed=seed, sigmas=["0.1", "0.25"], n=700) for seed in range(6)]
    alone = [run(LocalCounter(engine), *one) for one in asked]
    with SharedEngine(engine) as shared, ThreadPoolExecutor(4) as pool:

        def run_shared(one):
            with shared.create_counter() as counter:
                return run(counter, *one)

        assert list(pool.map(run_shared, asked)) == alone


def test_eight_mixed_jobs_have_the_counts_of_each_alone(engine, create_request, cards):
    """n from 6 to 600 and three label sets, over one engine of fixed batches."""
    names = cards["bundled-2"].class_names
    labels = (names, names[:2], names[1:4])
    asked = [
        create_request(
            "bundled-2",
            seed=place,
            targets=(TemplateTarget(template="A {} image.", class_names=labels[place % 3]),),
            procedure=CohenParameters(n0=3, n=n),
        )
        for place, n in enumerate((600, 300, 150, 80, 40, 20, 10, 6))
    ]
    alone = [run(LocalCounter(engine), *one) for one in asked]
    with SharedEngine(engine) as shared, ThreadPoolExecutor(8) as pool:

        def run_shared(one):
            with shared.create_counter() as counter:
                return run(counter, *one)

        assert list(pool.map(run_shared, asked)) == alone


def test_prompts_tuned_over_a_shared_engine_are_those_tuned_alone(engine, create_request, cards):
    card = cards["bundled-2"]
    target = ZeroShotTarget(
        template=card.template, class_names=card.class_names, tuning={"copies": 20}
    )
    asked = [
        create_request(
            "bundled-2", seed=s, targets=(target,), procedure=CohenParameters(n0=10, n=60)
        )
        for s in range(2)
    ]

    def vectors(result):
        return [c.prompt.sha256 for c in result.certificates], [
            c.counts_estimation for c in result.certificates
        ]

    alone = [vectors(run(LocalCounter(engine), *one)) for one in asked]
    with SharedEngine(engine) as shared, ThreadPoolExecutor(2) as pool:

        def run_shared(one):
            with shared.create_counter() as counter:
                return vectors(run(counter, *one))

        assert list(pool.map(run_shared, asked)) == alone


def test_a_counter_does_not_wait_for_an_engine_that_ended(engine, create_request):
    request, image = create_request(n=200_000)
    with ThreadPoolExecutor(1) as pool, SharedEngine(engine) as shared:

        def run_shared():
            with shared.create_counter() as counter:
                return run(counter, request, image)

        future = pool.submit(run_shared)
        while not engine.wait_for_work(0.1):
            pass
    with pytest.raises(EngineEnded):
        future.result(HANG_S)


class Broken(Engine):
    """An engine whose device fails."""

    def step(self) -> bool:
        raise MemoryError("out of memory")


def test_what_ends_the_engine_is_the_cause_that_counters_show(linear_engine, create_request):
    request, image = create_request()
    with pytest.raises(EngineEnded) as caught, SharedEngine(linear_engine) as shared:
        run(shared.create_counter(), request, image)
    assert isinstance(caught.value.__cause__, MemoryError)


@pytest.fixture
def linear_engine(engine) -> Engine:
    return Broken(engine._shelf)
