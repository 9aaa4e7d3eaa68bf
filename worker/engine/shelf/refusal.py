"""Why an engine will not serve a session."""

from worker.contract import Failure


class SessionNotServed(ValueError):
    """The engine cannot serve a session, now or later."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.failure = Failure(code=code, detail=detail)
