"""The rest of the interface: one flow for each address that has no flow of its own.

Answers are parsed JSON as docs/openapi.json describes it, or the bytes of a file.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from app.client.calls import Call, Flow, Image, create_fields, create_form, read_image
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

    def cancel(self, path: str) -> Flow[None]:
        """Ends what is queued or running at an address and removes nothing."""
        call = Call(method="DELETE", path=path, params={"only": "cancel"})
        yield from ask(call, patience_s=self._patience_s)

    def post(
        self, path: str, files: Mapping[str, Sequence[Image]], fields: Mapping[str, Any]
    ) -> Flow[dict[str, Any]]:
        """The answer to a form with files, which are read now."""
        sent = [(name, read_image(one)) for name, given in files.items() for one in given]
        return self._send(create_form(path, sent, fields))

    def post_fields(self, path: str, fields: Mapping[str, Any]) -> Flow[dict[str, Any]]:
        """The answer to a form without files."""
        return self._send(create_fields(path, fields))

    def post_json(
        self, path: str, *, idempotency_key: str | None = None, **members: Any
    ) -> Flow[dict[str, Any]]:
        """The answer to a JSON object, sent once unless it has an idempotency key.

        Members that are None are left out.
        """
        headers = {"Content-Type": "application/json"}
        if idempotency_key is not None:
            headers["Idempotency-Key"] = idempotency_key
        content = json.dumps(_known(members), default=str).encode()
        call = Call(method="POST", path=path, headers=headers, content=content)
        once = idempotency_key is None
        answer = yield from ask(call, patience_s=self._patience_s, once=once)
        return read_object(answer)

    def _send(self, call: Call) -> Flow[dict[str, Any]]:
        answer = yield from ask(call, patience_s=self._patience_s)
        return read_object(answer)


def at(*parts: str) -> str:
    """The address made of these parts, each quoted: `at("prompts", id)`."""
    return "".join(f"/{quote(part, safe='')}" for part in parts)


def _known(query: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in query.items() if value is not None}
