"""Multipart forms as clients send them, and never a part of one.

Starlette's parser drops a part that the body ends within, refuses a preamble, and takes a file for
a text if its name is only in `filename*`.
"""

from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from contextlib import aclosing
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData
from starlette.formparsers import MultiPartException, MultiPartParser

from app.request.refusal import FieldInvalid
from app.server.answers.problems import FormUnreadable

_MOST_PREAMBLE = 64 * 1024
MAX_TEXT_BYTES = 1024 * 1024  # 16 targets of 100 long class names in one JSON field, with escapes
_TOO_MANY_FILES = "Too many files"  # begins what the parser says
_TEXT_CODINGS = (b"utf-8", b"us-ascii")
_PLAIN = (b"", b"7bit", b"8bit", b"binary")
_TRANSFER_CODED = (
    "Expected parts as they are, got one with a Content-Transfer-Encoding, which RFC 7578 "
    "deprecates. Send its bytes."
)
_INCOMPLETE = (
    "The form is incomplete: the body ends before the last boundary. Nothing was done; send it "
    "whole."
)


_CODING = "Expected a form in UTF-8; its type names another charset."


class _Parser(MultiPartParser):
    """Starlette's parser, which also knows whether the closing boundary came.

    All fields together, files aside, have at most `MAX_TEXT_BYTES` bytes.
    """

    complete = False
    _text_bytes = 0

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._current_part.file is None:
            self._text_bytes += end - start
            if self._text_bytes > MAX_TEXT_BYTES:
                most = MAX_TEXT_BYTES // 1024
                raise MultiPartException(f"The fields exceed {most} KiB together.")
        super().on_part_data(data, start, end)

    def on_headers_finished(self) -> None:
        """Takes a part for a file also where only `filename*` or its type says so.

        RFC 7578, 4.2 forbids `filename*`, and clients send it for names beyond ASCII.
        """
        if self._find_header(b"content-transfer-encoding").lower() not in _PLAIN:
            raise MultiPartException(_TRANSFER_CODED)
        disposition = self._current_part.content_disposition or b""
        _, options = parse_options_header(disposition)
        if b"filename" not in options and (
            b"filename*" in disposition.lower() or self._is_typed_as_file()
        ):
            self._current_part.content_disposition = disposition + b'; filename="file"'
        super().on_headers_finished()

    def _is_typed_as_file(self) -> bool:
        kind = self._find_header(b"content-type").lower() or b"text/plain"  # RFC 7578, 4.4
        return not kind.startswith((b"text/", b"application/json", b"multipart/"))

    def _find_header(self, name: bytes) -> bytes:
        """The first value of a header of the part; empty if there is none."""
        found = (value for key, value in self._current_part.item_headers if key == name)
        return next(found, b"").strip()

    def on_end(self) -> None:
        self.complete = True


class FormRequest(Request):
    """A request whose multipart form is read whole or refused."""

    async def _get_form(self, **limits: Any) -> FormData:
        content_type, options = parse_options_header(self.headers.get("content-type"))
        if content_type != b"multipart/form-data":
            return FormData()  # what is sent in another form is refused unread
        if self._form is None:
            self._form = await self._parse_whole(options, limits)
        return self._form

    async def _parse_whole(
        self, options: Mapping[bytes, bytes], limits: dict[str, Any]
    ) -> FormData:
        if options.get(b"charset", b"utf-8").lower() not in _TEXT_CODINGS:
            raise FormUnreadable(_CODING)  # of those that Python knows, some take for ever
        if b"boundary" not in options:
            raise FormUnreadable("Missing boundary in multipart.")
        try:
            return await self._parse(options[b"boundary"], limits)
        except MultiPartException as error:
            if error.message.startswith(_TOO_MANY_FILES):  # of which only images may be many
                raise FieldInvalid("image", f"at most {limits['max_files']} images") from None
            raise FormUnreadable(error.message) from None

    async def _parse(self, boundary: bytes, limits: dict[str, Any]) -> FormData:
        async with aclosing(_skip_preamble(self.stream(), boundary)) as stream:
            parser = _Parser(self.headers, stream, **limits)
            form = await parser.parse()
        if not parser.complete:
            for file in parser._files_to_close_on_error:  # those of parts that never ended too
                file.close()
            raise MultiPartException(_INCOMPLETE)
        return form


async def _skip_preamble(
    stream: AsyncGenerator[bytes, None], boundary: bytes
) -> AsyncGenerator[bytes, None]:
    """Yields the body from its first boundary on (RFC 2046, 5.1.1)."""
    begun, first = b"", b"--" + boundary
    async with aclosing(stream) as body:
        async for chunk in body:
            begun += chunk
            if begun.startswith(first) or len(begun) > _MOST_PREAMBLE:
                break
            if (at := begun.find(b"\r\n" + first)) >= 0:
                begun = begun[at + 2 :]
                break
        yield begun
        async for chunk in body:
            yield chunk


class FormRoute(APIRoute):
    """An address whose handler gets a `FormRequest`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_form(request: Request) -> Response:
            return await handle(FormRequest(request.scope, request.receive))

        return handle_form
