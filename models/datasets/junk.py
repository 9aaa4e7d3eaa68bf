"""Tells the files that desktops and archives leave in folders of images."""

_NAMES = frozenset(
    {"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "picasa.ini", "@eadir", "dicomdir"}
)
_HIDDEN = (".", "__macosx")
_TEXTS = frozenset({"readme", "licence", "license"})
_TEXT_ENDINGS = frozenset({"", "txt", "md", "rst", "html", "pdf"})


def is_junk(name: str) -> bool:
    """Whether a file or folder of this name is no image, whatever its content is.

    Explorer writes Thumbs.db and desktop.ini, Finder .DS_Store, and network storage @eaDir. Data
    sets come with a README.
    """
    lower = name.lower()
    stem, _, ending = lower.partition(".")
    text = stem in _TEXTS and ending in _TEXT_ENDINGS
    return lower in _NAMES or lower.startswith(_HIDDEN) or text
