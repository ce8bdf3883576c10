"""The page of the admin port, put together from its parts: one document that asks for nothing else."""

from importlib import resources

_PARTS = resources.files("corelane.processor.supervisor.views").joinpath("page_parts")
# Later parts use what earlier ones define.
_STYLES = ("look.css", "page.css")
_SCRIPTS = (
    "parts.js",
    "words.js",
    "charts.js",
    "details.js",
    "versions.js",
    "cores.js",
    "events.js",
    "actions.js",
    "main.js",
)


def page() -> bytes:
    """The document, in UTF-8."""
    document = _part("page.html")
    document = document.replace("/* styles */", "".join(map(_part, _STYLES)))
    return document.replace("/* scripts */", "".join(map(_part, _SCRIPTS))).encode()


def look() -> str:
    """The styles that everything we draw has in common."""
    return _part("look.css")


def _part(name: str) -> str:
    return _PARTS.joinpath(name).read_text(encoding="utf-8")
