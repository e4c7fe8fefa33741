"""How far the told time left was off in recorded real runs, and whether its range held the truth."""

import statistics
import tempfile
from collections.abc import Iterable
from pathlib import Path

from nnunet_mcp.settings import Settings
from tests.kit.replay import Look, looks

SHARES = (0.1, 0.25, 0.5, 0.75, 0.9)


def main() -> None:
    """Ask at these shares of each run's true time."""
    with tempfile.TemporaryDirectory() as folder:
        folders = {name: Path(folder) / name for name in ("raw", "preprocessed", "results")}
        for path in folders.values():
            path.mkdir()
        found = list(looks(Settings.model_validate(folders), SHARES))
    print("Nothing like these runs had been trained before. The error is told - true, as a share of the run's time.\n")
    print("| run | " + " | ".join(f"at {share:.0%}" for share in SHARES) + " |")
    print("|---|" + "---:|" * len(SHARES))
    for run in dict.fromkeys(look.run for look in found):
        print(f"| {run} | " + " | ".join(_cell(look) for look in found if look.run == run) + " |")
    print(f"\n{_summary(found)}")


def _error(look: Look) -> float:
    return float(look.told["eta_s"] - look.true_s) * (1 - look.share) / look.true_s


def _cell(look: Look) -> str:
    if look.holds is None:
        return "not told"
    return f"{_error(look):+.0%}" + ("" if look.holds else ", range missed")


def _summary(found: Iterable[Look]) -> str:
    told = [look for look in found if look.holds is not None]
    held = sum(bool(look.holds) for look in told)
    median = statistics.median(abs(_error(look)) for look in told)
    return (
        f"- the range held the truth in {held} of {len(told)} looks ({held / len(told):.0%}); median error {median:.0%}"
    )


if __name__ == "__main__":
    main()
