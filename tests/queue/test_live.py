"""What is published of a certification that runs."""

from worker.certification import lower_confidence_bound, upper_confidence_bound
from worker.contract import Progress
from worker.jobs.certify import run_certification
from worker.store.jobs import progress, results


def test_live_votes_are_the_votes_so_far_and_end_as_the_certificate_s(
    redis, settings, submit, monkeypatch
):
    job = submit(n=700)
    eager = settings.model_copy(update={"checkpoint_interval_s": 1e-9})
    put, seen = progress.put_progress, []

    def keep(connection, certification_id, done, total, live):
        put(connection, certification_id, done, total, live)
        seen.append(live)

    monkeypatch.setattr(progress, "put_progress", keep)
    run_certification(redis, eager, job.id)
    assert len(seen) > 4
    for live in seen:
        assert [(one.sigma, one.target_index) for one in live] == [(0.1, 0), (0.25, 0)]
        for one in live:
            assert sum(one.counts) + one.ambiguous == one.n
            if one.n:
                runner_up, top = sorted(one.counts)[-2:]
                exact = lower_confidence_bound(top, one.n, 0.001)
                assert exact - 2e-9 <= one.p_a_lower <= exact
                exact = upper_confidence_bound(runner_up + one.ambiguous, one.n, 0.001)
                assert exact <= one.p_b_upper <= exact + 2e-9
    entries = results.find_result(redis, job.id).certificates
    assert [one.counts for one in seen[-1]] == [entry.counts_estimation for entry in entries]


def test_progress_of_a_worker_before_this_release_is_readable():
    old = '{"samples_done": 64, "samples_total": 200, "updated_at": "2026-01-01T00:00:00Z"}'
    assert Progress.model_validate_json(old).live == ()
