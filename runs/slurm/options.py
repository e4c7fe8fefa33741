"""Which options a run's jobs get: the request's, and the server's for the rest."""

from collections.abc import Iterable

from ...errors import Refused
from ...schemas.slurm import names_gpus, parse_options
from ...settings import Settings

ATTEMPTS = 20
WARN_S = 600


def options_of(settings: Settings, words: Iterable[str] = ()) -> dict[str, str]:
    """The server's options, replaced by the request's where it has them.

    Raises:
        Refused: the server's own are wrong; a request's were checked with it.
    """
    try:
        own = parse_options(settings.slurm_options.split())
    except ValueError as error:
        raise Refused(f"NNUNET_MCP_SLURM_OPTIONS of the server is wrong: {error}") from None
    asked = parse_options(words)
    if "gpus" in asked and "gres" not in asked:
        own.pop("gres", None)
    if names_gpus(asked):
        own.pop("gpus", None)
    return {**own, **asked}


def attempts(options: dict[str, str]) -> int:
    """How often a stage may be started."""
    return int(options.get("attempts", ATTEMPTS))


def warn_s(options: dict[str, str]) -> int:
    """How many seconds ahead of the time limit the job is warned: at most a quarter of the limit, if that is known."""
    asked, limit = int(options.get("warn", WARN_S)), limit_s(options.get("time", ""))
    return asked if not limit or "warn" in options else min(asked, max(1, limit // 4))


def limit_s(time: str) -> int | None:
    """Seconds of sbatch's --time: minutes, minutes:seconds, hours:minutes:seconds, or days-hours[:minutes[:seconds]].

    >>> limit_s("1-12"), limit_s("02:30:00"), limit_s("90")
    (129600, 9000, 5400)
    """
    if not time:
        return None
    days, dash, rest = time.rpartition("-")
    parts = [int(part) for part in rest.split(":")]
    if dash:
        hours, minutes, seconds = (*parts, 0, 0)[:3]
        return int(days) * 86400 + hours * 3600 + minutes * 60 + seconds
    if len(parts) == 3:
        return parts[0] * 3600 + parts[1] * 60 + parts[2]
    return parts[0] * 60 + (parts[1] if len(parts) == 2 else 0)
