"""Certifications that are not there, not finished, or damaged."""

from app.server.answers.problems.problem import Problem


class CertificationUnknown(Problem):
    status, code = 404, "certification_unknown"
    text = "There is no certification with this id; it never was, or its time to live has passed."


class BatchUnknown(Problem):
    status, code = 404, "batch_unknown"
    text = "There is no batch with this id; it never was, or its time to live has passed."


class VotesUnknown(Problem):
    status, code = 404, "votes_unknown"
    text = (
        "There are no such votes: not finished, no such certificate, phase or sample, or expired."
    )


class WitnessUnknown(Problem):
    status, code = 404, "witness_unknown"
    text = "There is no such witness: nobody asked for it, or no such change was found."


class NotFinished(Problem):
    status, code = 409, "not_finished"
    text = "There is no report before a certification has finished, nor where it ended without one."


class NothingToContinue(Problem):
    status, code = 409, "nothing_to_continue"
    text = (
        "There are no further samples to take: the request named no n_cap, or its schedule is at "
        "its end, or what it asked has its answer."
    )


class InputImageExpired(Problem):
    status, code = 410, "input_image_expired"
    text = "The certified image is no longer stored; send the picture again to see it."


class CertificationGone(Problem):
    status, code = 410, "certification_gone"
    text = "The certification that this idempotency key was first used for has been purged."


class RecordDamaged(Problem):
    status, code = 500, "record_damaged"
    text = (
        "What the service stored of this certification cannot be read any more. Send the image "
        "again; the log of the service names the record."
    )
