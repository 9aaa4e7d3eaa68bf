"""The refusal of a session by an engine."""

from worker.contract import Failure


class SessionNotServed(ValueError):
    """The engine cannot serve the session. A retry does not help."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.failure = Failure(code=code, detail=detail)
