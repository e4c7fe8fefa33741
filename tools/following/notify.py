"""Send news of a run to the addresses of NNUNET_MCP_NOTIFY, by the apprise library."""

import logging
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from ...errors import Refused, RunError
from ...files import RIGHTS
from ...runs.layout import RunDir
from ...schemas.records import ACTIVE
from ...settings import Settings
from ..watching.snapshot import RunSnapshot
from .news import News, news
from .targets import Untellable, addresses, kind, lacking

# With the pauses of follow.py half an hour, in which a service may be restarted. What a service takes while it reports
# an error comes this often at most.
TRIES = 12
# Of an address, its recipients are counted from 0.
Recipient = tuple[str, int]


@dataclass
class Letter:
    """News, the addresses that do not have it yet, and who of theirs has."""

    news: News
    left: list[str]
    reached: set[Recipient] = field(default_factory=set)
    tries: int = 0


@dataclass
class Notifier:
    """Tells each event at most once: the event's file is made before it is sent, so a kill cannot repeat it. Where a
    service reports an error, this process tries again, TRIES times in all."""

    run: RunDir
    settings: Settings
    letters: list[Letter] = field(default_factory=list)
    lost: str = ""
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
        problems = [(letter, why) for letter in self.letters for why in _deliver_to_all(letter)]
        self.letters = [letter for letter in self.letters if letter.left and letter.tries < TRIES]
        if given_up := [why for letter, why in problems if letter.tries >= TRIES]:
            self.lost = f"{_once_each(given_up)}, given up after {TRIES} tries"
        if self.letters:
            raise Untellable(_once_each(why for _, why in problems))


def _once_each(problems: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(problems))


def _deliver_to_all(letter: Letter) -> Iterator[str]:
    """Send it to those who do not have it; yields why it did not reach them."""
    letter.tries += 1
    for address in list(letter.left):
        if why := deliver(address, letter.news, letter.reached):
            yield why
        else:
            letter.left.remove(address)


def test_message(settings: Settings) -> Iterator[tuple[str, str]]:
    """Send one to every address; yields the address's kind, and why it could not be delivered.

    Raises:
        Refused: there is no address.
    """
    try:
        hearers = addresses(settings)
    except (OSError, RunError):
        raise Refused("The file that NNUNET_MCP_NOTIFY names cannot be read.") from None
    if not hearers:
        raise Refused("There is no address: set NNUNET_MCP_NOTIFY to addresses, or to a file that has them.")
    message = News("test", "nnunet-mcp", "This is a test: you will hear of your runs here.")
    yield from ((kind(address), deliver(address, message)) for address in hearers)


def deliver(address: str, what: News, reached: set[Recipient] | None = None) -> str:
    """Send one message to those of an address who are not `reached`, which grows; returns why it did not reach all."""
    try:
        import apprise
    except ImportError:
        return lacking("apprise")
    logging.getLogger("apprise").disabled = True  # it writes addresses
    reached = set() if reached is None else reached
    recipients = {(address, place): server for place, server in enumerate(_recipients(address))}
    if not recipients:
        return f"{kind(address)}: no address that apprise knows"
    for recipient in [one for one in recipients if one not in reached]:
        sender = apprise.Apprise()
        sender.add(recipients[recipient])
        # A service's module may raise anything, or take too long.
        with suppress(Exception):
            if sender.notify(title=what.title, body=what.text, body_format=apprise.NotifyFormat.TEXT):
                reached.add(recipient)
    if recipients.keys() <= reached:
        return ""
    return f"{kind(address)}: not delivered (no answer, or a wrong address or password)"


def _recipients(address: str) -> list[Any]:
    """An apprise service for each recipient: apprise says of several together only whether all of them were reached."""
    from apprise import Apprise, NotifyBase
    from apprise.plugins import url_to_dict

    parsed = url_to_dict(address) or {}
    names = [name for given in parsed.get("targets") or () for name in str(given).split(",") if name.strip()]
    each = [Apprise.instantiate({**parsed, "targets": [name]}) for name in names]
    if len(each) < 2 or not all(isinstance(one, NotifyBase) for one in each):
        each = [Apprise.instantiate(address)]
    return [one for one in each if isinstance(one, NotifyBase)]
