"""Pages for people. Everything they load comes from this app."""

from pathlib import Path

from fastapi import APIRouter
from starlette.responses import FileResponse

WEB = Path(__file__).parent.parent / "web"
router = APIRouter(include_in_schema=False)


@router.get("/")
async def get_index() -> FileResponse:
    """What this is."""
    return FileResponse(WEB / "index.html")


@router.get("/docs")
async def get_docs() -> FileResponse:
    """The interface, to read and to try."""
    return FileResponse(WEB / "docs.html")
