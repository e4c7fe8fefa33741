"""The dashboard's page: one HTML put together from the files of this folder, so that it loads nothing.

page.html   the frame; style.css and the scripts are put into it
bridge.js   speaks MCP Apps (SEP-1865, 2026-01-26) with the host
dom.js      builds elements; every text is set as text, never as HTML
format.js   numbers, times and words
charts.js   curves as SVG
parts.js    the parts of the page, each drawn from a part of nnunet_dashboard_data's answer
view.js     keeps the page up to date
"""

from functools import cache
from pathlib import Path

from mcp.server.apps import Apps

PAGE_URI = "ui://nnunet/dashboard.html"
FOLDER = Path(__file__).parent
SCRIPTS = ("bridge.js", "dom.js", "format.js", "charts.js", "parts.js", "view.js")


@cache
def page_html() -> str:
    """The whole page."""
    page, style = _read("page.html"), _read("style.css")
    scripts = "\n".join(_read(name) for name in SCRIPTS)
    return page.replace("/* style.css */", style).replace("/* scripts */", scripts)


def _read(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


def dashboard_page() -> Apps:
    """The MCP Apps extension with the page; the tools that belong to it are in the catalogue."""
    apps = Apps()
    apps.add_html_resource(PAGE_URI, page_html(), name="dashboard", title="Dashboard", prefers_border=True)
    return apps
