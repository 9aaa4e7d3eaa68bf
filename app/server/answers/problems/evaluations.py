"""Evaluations that are not there, not finished, or too large."""

from app.server.answers.problems.problem import Problem


class EvaluationUnknown(Problem):
    status, code = 404, "evaluation_unknown"
    text = "There is no evaluation with this id; it never was, or it was purged."


class EvaluationNotFinished(Problem):
    status, code = 409, "evaluation_not_finished"
    text = "The evaluation has no results yet; its `table` shows the images that are finished."


class EvaluationTooLarge(Problem):
    status, code = 422, "evaluation_too_large"
    text = "The evaluation needs more disk or more memory of the queue than is free."


class EvaluationsOff(Problem):
    status, code = 503, "evaluations_off"
    text = "This service keeps no evaluations: its operator names no folder for them."
