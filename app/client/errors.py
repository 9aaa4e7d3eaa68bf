"""The exceptions of the client.

ClientError
├── UnsafeAddress       the address is unusable, or a key would travel unencrypted
├── KeyUnusable         the key has characters that a header cannot hold
├── FileUnreadable      a file cannot be read
├── ServiceUnreachable  no answer: refused, timed out, cut off
├── ServiceRefused      the service answered with a problem (RFC 9457); `code` is stable
└── NotFinished         the job did not end in time; it continues
"""

_GONE = frozenset({"certification_gone", "certification_unknown"})


class ClientError(ValueError):
    """Base of all exceptions of the client. Its text is a sentence for a person."""


class UnsafeAddress(ClientError):
    """The address cannot be used, or a key would travel to it unencrypted."""


class KeyUnusable(ClientError):
    """The key has characters that a header cannot hold."""


class FileUnreadable(ClientError):
    """A file cannot be read."""


class ServiceUnreachable(ClientError):
    """The service does not answer."""


class ServiceRefused(ClientError):
    """The service answered that it will not or cannot do this.

    Attributes:
        status: the HTTP status.
        code: what programs branch on; docs/errors.md lists all codes. "" if the answer came from
            something other than the service, such as a proxy.
        detail: the service's own sentence.
        request_id: helps an operator to find the request; "" if there is none.
    """

    def __init__(self, status: int, code: str, detail: str, request_id: str) -> None:
        super().__init__(status, code, detail, request_id)
        self.status, self.code, self.detail, self.request_id = status, code, detail, request_id

    @property
    def is_gone(self) -> bool:
        """Whether the service no longer has the certification, or never had it."""
        return self.code in _GONE

    def __str__(self) -> str:
        return f"the service answered {self.status} {self.code}: {self.detail}".replace(" :", ":")


class NotFinished(ClientError):
    """A job did not end in time. It continues; ask for it again by its id."""

    def __init__(self, certification_id: str, waited_s: float) -> None:
        super().__init__(certification_id, waited_s)
        self.certification_id, self.waited_s = certification_id, waited_s

    def __str__(self) -> str:
        return (
            f"certification {self.certification_id} has not ended within {self.waited_s:g} s; "
            "it continues; ask for it again by its id"
        )


def as_client_error(error: Exception, address: object) -> ClientError:
    """The client's own error, or that the address does not answer."""
    if isinstance(error, ClientError):
        return error
    return ServiceUnreachable(f"no answer from {address}: {error}")
