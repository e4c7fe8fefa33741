"""A report as one HTML file that loads nothing, or as Markdown. The templates' engine escapes every text in it."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ...schemas.models import ReportFormat
from ...texts import in_markdown

TEMPLATES: Mapping[ReportFormat, str] = {"html": "report.html", "markdown": "report.md"}
ENDINGS: Mapping[ReportFormat, tuple[str, ...]] = {"html": (".html", ".htm"), "markdown": (".md", ".markdown")}
# A picture of 200 kB, in base64, is the longest text.
LONGEST = 400_000


def layout_of(file: Path) -> ReportFormat:
    """What its ending says."""
    return "markdown" if file.suffix.lower() in ENDINGS["markdown"] else "html"


def written(layout: ReportFormat, content: Mapping[str, Any]) -> str:
    """The whole file."""
    return _environment(layout).get_template(TEMPLATES[layout]).render(content)


@cache
def _environment(layout: ReportFormat) -> Environment:
    """In Markdown every value is escaped, but for what a macro of the template has made."""
    is_page = layout == "html"
    return Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=is_page,
        finalize=None if is_page else _in_markdown,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )


def _in_markdown(value: object) -> object:
    return value if isinstance(value, Markup) else in_markdown(value, LONGEST)
