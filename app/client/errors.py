"""What a client raises.

ClientError
├── UnsafeAddress       a key would travel unencrypted, or the address is none
├── KeyUnusable         the key is no text that a header can hold
├── FileUnreadable      a file of a folder cannot be read
├── ServiceUnreachable  no answer: refused, timed out, cut off
├── ServiceRefused      the service answered with a problem (RFC 9457); `code` is stable
└── NotFinished         the job is not done within the time that was given; it goes on
"""

from dataclasses import dataclass


class ClientError(ValueError):
    """Base of all that a client raises of its own; its text is a sentence for a person."""


class UnsafeAddress(ClientError):
    """The address cannot be used, or a key would travel to it unencrypted."""


class KeyUnusable(ClientError):
    """The key is no text that a header can hold."""


class FileUnreadable(ClientError):
    """A file of a folder cannot be read."""


class ServiceUnreachable(ClientError):
    """The service does not answer at all."""


@dataclass(frozen=True)
class ServiceRefused(ClientError):
    """The service answered that it will not or cannot do this.

    Attributes:
        status: the HTTP status.
        code: what programs branch on; docs/errors.md lists all. "" where the answer was not the
            service's, as a proxy's page is not.
        detail: the service's own sentence.
        request_id: what an operator finds the request by, "" where there is none.
    """

    status: int
    code: str
    detail: str
    request_id: str

    def __str__(self) -> str:
        return f"the service answered {self.status} {self.code}: {self.detail}".replace(" :", ":")


@dataclass(frozen=True)
class NotFinished(ClientError):
    """A job did not end within the time that was given. It goes on; ask for it again by its id."""

    certification_id: str
    waited_s: float

    def __str__(self) -> str:
        return (
            f"certification {self.certification_id} has not ended within {self.waited_s:g} s; "
            "it goes on, ask for it again by its id"
        )
