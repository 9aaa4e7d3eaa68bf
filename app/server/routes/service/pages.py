"""The web pages. Everything they load comes from this app."""

from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles

from app.server.openapi import Service

WEB = Path(__file__).parents[3] / "web"
router = APIRouter(include_in_schema=False)

# No inline scripts or styles, nothing from elsewhere, and no text becomes markup: trusted types are
# required and none are created. Pictures are blobs, because they are fetched with a key in a
# header.
_PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
# Redoc adds empty style elements and fills them by script, which is allowed. The two digests are
# the empty text and one rule for its scroll bars. So it needs no 'unsafe-inline' and, with its
# search off, no worker from a blob. The logo in its footer, on another host, is blocked.
_REFERENCE_POLICY = (
    "default-src 'none'; script-src 'self'; "
    "style-src 'self' 'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=' "
    "'sha256-QMIg+bpjm3JdElJ388KYke01izlUW0UoNOeKjpMxdgc='; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# Swagger UI embeds its pictures as data URLs and sets styles by script, which needs no 'unsafe'.
_DOCS_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_REVALIDATE = {"Cache-Control": "no-cache"}  # kept by the browser, revalidated each time


class StaticPages(StaticFiles):
    """The files of the pages: cached, and revalidated at every use."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        """A file, or 304 if the browser has it."""
        response = super().file_response(*args, **kwargs)
        response.headers.update(_REVALIDATE)
        return response


@router.get("/")
async def get_index() -> FileResponse:
    """The page: certify, look at the answer, audit, learn prompts."""
    headers = {"Content-Security-Policy": _PAGE_POLICY, **_REVALIDATE}
    return FileResponse(WEB / "index.html", headers=headers)


@router.get("/docs")
async def get_docs() -> FileResponse:
    """The API documentation, to read and to try."""
    return FileResponse(WEB / "docs.html", headers={"Content-Security-Policy": _DOCS_POLICY})


@router.get("/redoc")
async def get_redoc() -> FileResponse:
    """The API documentation, to read."""
    return FileResponse(WEB / "redoc.html", headers={"Content-Security-Policy": _REFERENCE_POLICY})


@router.get("/openapi.json")
async def get_openapi(request: Request) -> Response:
    """The description of every address, as a document."""
    app: Service = request.app
    return Response(await app.write_openapi(), media_type="application/json")
