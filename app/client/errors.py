"""The exceptions of the client.

ClientError
├── UnsafeAddress       the address is unusable, or a key would travel unencrypted
├── KeyUnusable         the key has characters that a header cannot hold
├── FileUnreadable      a file of a folder cannot be read
├── ServiceUnreachable  no answer: refused, timed out, cut off
├── ServiceRefused      the service answered with a problem (RFC 9457); `code` is stable
└── NotFinished         the job did not end in time; it continues
"""

from dataclasses import dataclass


class ClientError(ValueError):
    """Base of all exceptions of the client. Its text is a sentence for a person."""


class UnsafeAddress(ClientError):
    """The address cannot be used, or a key would travel to it unencrypted."""


class KeyUnusable(ClientError):
    """The key has characters that a header cannot hold."""


class FileUnreadable(ClientError):
    """A file of a folder cannot be read."""


class ServiceUnreachable(ClientError):
    """The service does not answer."""


@dataclass(frozen=True)
class ServiceRefused(ClientError):
    """The service answered that it will not or cannot do this.

    Attributes:
        status: the HTTP status.
        code: what programs branch on; docs/errors.md lists all codes. "" if the answer came from
            something other than the service, such as a proxy.
        detail: the service's own sentence.
        request_id: helps an operator to find the request; "" if there is none.
    """

    status: int
    code: str
    detail: str
    request_id: str

    def __str__(self) -> str:
        return f"the service answered {self.status} {self.code}: {self.detail}".replace(" :", ":")


@dataclass(frozen=True)
class NotFinished(ClientError):
    """A job did not end in time. It continues; ask for it again by its id."""

    certification_id: str
    waited_s: float

    def __str__(self) -> str:
        return (
            f"certification {self.certification_id} has not ended within {self.waited_s:g} s; "
            "it continues; ask for it again by its id"
        )
