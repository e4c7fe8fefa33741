"""Send news of a run to the addresses of NNUNET_MCP_NOTIFY, by the apprise library."""

import logging
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from ...errors import Refused
from ...files import RIGHTS
from ...runs.layout import RunDir
from ...schemas.records import ACTIVE
from ...settings import Settings
from ..watching.snapshot import RunSnapshot
from .news import News, news
from .targets import Untellable, addresses, kind, lacking


@dataclass
class Letter:
    """News, and the addresses that do not have it yet."""

    news: News
    left: list[str]


@dataclass
class Notifier:
    """Tells each event at most once: the event's file is made before it is sent, so a kill cannot repeat it. While this
    process lives it tries again."""

    run: RunDir
    settings: Settings
    letters: list[Letter] = field(default_factory=list)
    _before: News | None = None

    def tell(self, view: RunSnapshot) -> bool:
        """Send what is new; returns whether there will be no more.

        Raises:
            Untellable: to some address, which is tried again.
        """
        found, before = news(view), self._before
        self._before = found
        again = found is not None and before is not None and found.event == before.event
        # Twice in a row: a laptop that wakes up, or a file that a network shows late, looks like a silent run once.
        if found is not None and again:
            hearers = addresses(self.settings)
            if self._claims(found.event):
                self.letters.append(Letter(found, hearers))
        self._send()
        return view.judged.status not in ACTIVE and (found is None or again)

    def _claims(self, event: str) -> bool:
        with suppress(FileExistsError):
            (self.run.told_dir / event).touch(RIGHTS, exist_ok=False)
            return True
        return False

    def _send(self) -> None:
        problems: list[str] = []
        for letter in self.letters:
            for address in list(letter.left):
                if why := deliver(address, letter.news):
                    problems.append(why)
                else:
                    letter.left.remove(address)
        self.letters = [letter for letter in self.letters if letter.left]
        if problems:
            raise Untellable("; ".join(dict.fromkeys(problems)))


def test_message(settings: Settings) -> Iterator[tuple[str, str]]:
    """Send one to every address; yields the address's kind, and why it could not be delivered.

    Raises:
        Refused: there is no address.
    """
    try:
        hearers = addresses(settings)
    except OSError:
        raise Refused("The file that NNUNET_MCP_NOTIFY names cannot be read.") from None
    if not hearers:
        raise Refused("There is no address: set NNUNET_MCP_NOTIFY to addresses, or to a file that has them.")
    message = News("test", "nnunet-mcp", "This is a test: you will hear of your runs here.")
    yield from ((kind(address), deliver(address, message)) for address in hearers)


def deliver(address: str, what: News) -> str:
    """Send one message; returns why it could not be delivered, or nothing."""
    try:
        import apprise
    except ImportError:
        return lacking("apprise")
    logging.getLogger("apprise").disabled = True  # it writes addresses
    server = apprise.Apprise.instantiate(address)
    if not isinstance(server, apprise.NotifyBase):
        return f"{kind(address)}: no address that apprise knows"
    sender = apprise.Apprise()
    sender.add(server)
    try:
        sent = sender.notify(title=what.title, body=what.text, body_format=apprise.NotifyFormat.TEXT)
    except Exception:  # whatever a service's module raises, or that it takes too long
        sent = False
    return "" if sent else f"{kind(address)}: not delivered (no answer, or a wrong address or password)"
