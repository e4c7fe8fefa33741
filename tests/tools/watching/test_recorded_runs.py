"""What is told of the time left and of the percentage, beside what recorded real runs then took."""

import pytest

from nnunet_mcp.settings import Settings
from nnunet_mcp.tools.watching.progress import answer
from nnunet_mcp.tools.watching.snapshot import snapshot
from tests.kit.replay import Recorded, clock, looks

STEPS = 20
# From here on a first epoch was at work, so that the end is told, also where nothing like it was trained before. Of the
# cascade's second network nothing is known before it trains.
KNOWN_FROM, UNKNOWN_FOR_LONG = 0.5, "cascade"


@pytest.mark.heavy
def test_the_range_of_the_time_left_holds_what_the_runs_then_took(settings: Settings) -> None:
    found = list(looks(settings))
    told = [look for look in found if look.holds is not None]
    wrong = [(look.run, look.share, look.true_s, look.told["eta"]) for look in told if not look.holds]

    assert len(wrong) <= 0.1 * len(told), wrong
    assert {look.run for look in found if look.holds is None and look.share >= KNOWN_FROM} <= {UNKNOWN_FOR_LONG}


@pytest.mark.parametrize("run", Recorded.every(), ids=lambda run: run.name)
def test_the_percentage_of_a_run_never_falls(settings: Settings, run: Recorded) -> None:
    shown = []
    for step in range(STEPS + 1):
        at = run.whole_s * step / STEPS
        run_id = run.stand_at(at, settings)
        with clock(at):
            shown.append(answer(snapshot(settings, run_id)).percent)

    assert shown == sorted(shown)
    assert shown[-1] == 100.0 and all(percent < 100 for percent in shown[:-1])
