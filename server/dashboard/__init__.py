"""The dashboard's page: one HTML put together from the files of this folder, so that it loads nothing.

page.html    the frame; style.css and the scripts are put into it
bridge.js    in a chat: speaks MCP Apps (SEP-1865, 2026-01-26) with the host
browser.js   in a browser: speaks with site.py, which local.py serves
dom.js       builds elements; every text is set as text, never as HTML
format.js    numbers, times and words
charts.js    curves as SVG
runs.js      the list of runs and its filters
parts.js     the parts of a run's page, each drawn from a part of nnunet_dashboard_data's answer
curves.js    the curves of a run, and how they are shown
asking.js    what the page asks before it stops a run, goes on with one or changes its place
looks.js     what a person looks at on request: logs, pictures of cases, datasets, the machine
acts.js      what the buttons do
view.js      keeps the page up to date
"""

from functools import cache
from pathlib import Path

from mcp.server.apps import Apps

PAGE_URI = "ui://nnunet/dashboard.html"
FOLDER = Path(__file__).parent
SCRIPTS = ("dom", "format", "charts", "runs", "parts", "curves", "asking", "looks", "acts", "view")
# Without it browsers ask the server for an icon.
NO_ICON = '<link rel="icon" href="data:,">\n'


@cache
def page_html(*, browser: bool = False) -> str:
    """The whole page, for a chat's host or for a browser."""
    page = _read("page.html").replace("<style>", f"{NO_ICON if browser else ''}<style>")
    return page.replace("/* style.css */", style_text()).replace("/* scripts */", script_text(browser=browser))


@cache
def style_text() -> str:
    """What stands between the page's style tags."""
    return _read("style.css")


@cache
def script_text(*, browser: bool = False) -> str:
    """What stands between the page's script tags."""
    return "\n".join(_read(f"{name}.js") for name in ("browser" if browser else "bridge", *SCRIPTS))


def _read(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


def dashboard_page() -> Apps:
    """The MCP Apps extension with the page; the tools that belong to it are in the catalogue."""
    apps = Apps()
    apps.add_html_resource(PAGE_URI, page_html(), name="dashboard", title="Dashboard", prefers_border=True)
    return apps
