"""The rest of the interface: one flow for each address that has no flow of its own.

Answers are parsed JSON as docs/openapi.json describes it, or the bytes of a file.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from app.client.calls import Call, Flow, Image, create_form, read_image
from app.client.flows import ask, read_object


class Routes:
    """Makes flows that spend at most `patience_s` on a service that is busy or away."""

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s

    def get(self, path: str, **query: Any) -> Flow[dict[str, Any]]:
        """The document at an address; parameters that are None are left out."""
        return self._send(Call(method="GET", path=path, params=_known(query)))

    def download(self, path: str, **query: Any) -> Flow[bytes]:
        """The bytes at an address."""
        call = Call(method="GET", path=path, params=_known(query))
        answer = yield from ask(call, patience_s=self._patience_s)
        return answer.content

    def page(self, address: str | None, filters: Mapping[str, Any]) -> Flow[dict[str, Any]]:
        """A page of certifications: the first one, or that at the address that a page named."""
        if address is None:
            return self.get("/certifications", **filters)
        return self._send(Call(method="GET", path=address))

    def delete(self, path: str) -> Flow[None]:
        """Sends DELETE, once: a second one could remove what the first one ended."""
        yield from ask(Call(method="DELETE", path=path), patience_s=self._patience_s, once=True)

    def post(
        self, path: str, files: Mapping[str, Sequence[Image]], fields: Mapping[str, Any]
    ) -> Flow[dict[str, Any]]:
        """The answer to a form with files, which are read now."""
        sent = [(name, read_image(one)) for name, given in files.items() for one in given]
        return self._send(create_form(path, sent, fields))

    def _send(self, call: Call) -> Flow[dict[str, Any]]:
        answer = yield from ask(call, patience_s=self._patience_s)
        return read_object(answer)


def at(*parts: str) -> str:
    """The address made of these parts, each quoted: `at("prompts", id)`."""
    return "".join(f"/{quote(part, safe='')}" for part in parts)


def _known(query: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in query.items() if value is not None}
