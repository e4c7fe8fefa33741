"""Look at a folder without dataset.json and propose how to import it; nothing is written."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from ...calls import call
from ...errors import NotFound, Refused
from ...image_files import Listing
from ...schemas.datasets import FileFacts, Layout, Prepared, PrepareRequest
from ...settings import Settings
from ...texts import clean, first, some
from .import_cases import Gathered, channel_name, gather, natural, read_source
from .import_folders import facts_of
from .import_hints import hints
from .import_layouts import BORDER, Reading, Template, merged, readings, role_of, shared
from .import_patterns import matches
from .import_plan import DISTINCT, Facts, Plan, plan_of

BUDGET_S = 20.0  # a chat waits for the answer
SMALL = 60  # files; all are opened at once then
SAMPLED_TEMPLATES = 40  # of more, one file each
MOST_SAMPLED = 200
FEW_VALUES = 40  # a mask rarely has more labels; an image of few voxels has more values
SHOWN = 3  # pairs, layouts and files left over in the answer
Tell = Callable[[int, int], None]


@dataclass
class Proposed:
    """A layout as a request, with what it finds."""

    request: PrepareRequest
    gathered: Gathered


def propose(source: Path, request: PrepareRequest, settings: Settings, tell: Tell) -> Prepared:
    """The layouts that fit the folder, the best first.

    Raises:
        NotFound, Refused: there are no images, or none that can be paired.
    """
    listing, _, elsewhere = read_source(request, source, settings)
    if not listing.files:
        raise NotFound(
            f"{source}: dataset.json does not exist, and there are no images in it. Name the folder that holds images "
            f"and masks{_others(listing)}. {hints(listing.others)}".rstrip()
        )
    found = readings(listing.files) or readings(listing.files, by_number=True)
    facts = _sample(found, listing, settings)
    proposed = _layouts(found, facts, request, listing, elsewhere, settings)
    if not proposed:
        raise Refused(_no_layout(request, listing))
    return _answer(proposed, facts, settings, tell)


def _others(listing: Listing) -> str:
    return f" (it has {len(listing.others)} other files: {some(sorted(listing.others))})" if listing.others else ""


def _no_layout(request: PrepareRequest, listing: Listing) -> str:
    own = call(
        "nnunet_prepare_dataset",
        source=request.source,
        dataset_id=int(request.dataset_id),
        name=request.name,
        images=["images/{case}.nii.gz"],
        labels="masks/{case}.nii.gz",
    )
    return (
        f"No images and masks could be paired by their names among {len(listing.files)} images: "
        f"{some(sorted(listing.files), 6)}. {hints(listing.others)}Ask the person which are which, then "
        f"give patterns, like {own}."
    )


def _sample(found: Sequence[Reading], listing: Listing, settings: Settings) -> Facts:
    """Facts of some files of each template, by which masks are told from images; in a small folder of all."""
    names: dict[str, None] = {}
    for reading in found:
        many = len(reading.templates) > SAMPLED_TEMPLATES
        for template in reading.templates[:MOST_SAMPLED]:
            files = [template.files[case] for case in sorted(template.files)]
            few = (files[len(files) // 2],) if many else (files[0], files[len(files) // 2], files[-1])
            names |= dict.fromkeys(files if len(listing.files) <= SMALL else few)
    asked = [listing.files[name].model_copy(update={"mask": True}) for name in names]
    return facts_of(asked, settings, lambda done, total: None, budget_s=BUDGET_S, partial=True)


def _layouts(
    found: Sequence[Reading],
    facts: Facts,
    request: PrepareRequest,
    listing: Listing,
    elsewhere: str,
    settings: Settings,
) -> list[Proposed]:
    """Each reading as requests; those in which only the values tell images from masks come last."""
    proposed: list[Proposed] = []
    explained: list[set[str]] = []
    sure = [(reading, *_roles(reading, facts, elsewhere)) for reading in found]
    guessed = [(reading, *_guessed(masks, facts)) for reading, images, masks in sure if not images]
    for _, images, masks in (*sure, *guessed):
        if not images or not masks:
            continue
        for asked in _requests(images, masks, facts, request):
            try:
                gathered = gather(asked, listing, asked.labels, settings)
            except Refused:
                continue
            used = set(listing.files) - set(gathered.left_over)
            if gathered.training and not any(used <= more for more in explained):
                proposed.append(Proposed(asked, gathered))
                explained.append(used)
    return sorted(proposed, key=lambda one: plan_of(one.request, one.gathered, facts).unfit)


def _guessed(masks: list[Template], facts: Facts) -> tuple[list[Template], list[Template]]:
    """Of files that all look like masks, those with most values may be the images."""
    most = max(masks, key=lambda one: _distinct(one, facts))
    return [most], [one for one in masks if one is not most]


def _requests(
    images: list[Template], masks: list[Template], facts: Facts, request: PrepareRequest
) -> Iterator[PrepareRequest]:
    patterns, channels = _image_patterns(images)
    kept = channels or request.channels
    for labels, names in _mask_patterns(masks, facts):
        named = names or request.label_names
        yield request.model_copy(update={"images": patterns, "channels": kept, "labels": labels, "label_names": named})


def _roles(reading: Reading, facts: Facts, elsewhere: str) -> tuple[list[Template], list[Template]]:
    """The templates that are images, and those that are masks: by where they lie, their words, then their values."""
    roles = [_role(template, reading, facts, elsewhere) for template in reading.templates]
    beside = {one.text.rpartition("/")[0]: role for one, role in zip(reading.templates, roles, strict=True) if role}
    known = [
        (one, role or beside.get(one.text.rpartition("/")[0], "image"))
        for one, role in zip(reading.templates, roles, strict=True)
    ]
    return [one for one, role in known if role == "image"], [one for one, role in known if role == "mask"]


def _role(template: Template, reading: Reading, facts: Facts, elsewhere: str) -> str:
    if elsewhere and template.text.startswith(elsewhere):
        return "mask"
    values = [facts[name] for name in template.files.values() if name in facts]
    said = role_of(template, reading.shared)
    return said or (values and ("mask" if all(map(_like_a_mask, values)) else "image")) or ""


def _like_a_mask(facts: FileFacts) -> bool:
    whole = not (facts.error or facts.fractional or facts.uncounted or facts.not_numbers)
    grey = facts.picture in ("", "grey") or facts.alike or facts.palette
    return whole and grey and facts.channels == 1 and len(facts.values) <= FEW_VALUES


def _distinct(template: Template, facts: Facts) -> int:
    return max((len(facts[name].values) for name in template.files.values() if name in facts), default=0)


def _no_masks(template: Template, facts: Facts) -> bool:
    looked = [facts[name] for name in template.files.values() if name in facts]
    return any(not _like_a_mask(one) or max(one.values, default=0) > DISTINCT for one in looked)


def _image_patterns(images: list[Template]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """One pattern with {channel} and the channels, or one for each channel."""
    most = max(len(template.files) for template in images)
    usual = [template for template in images if 2 * len(template.files) >= most]
    if len(usual) == 1:
        return (usual[0].pattern,), ()
    if one := merged(usual, "{channel}"):
        return (one,), tuple(_pair(token, channel_name(token)) for token in _tokens(one, usual))
    ordered = sorted(usual, key=lambda one: one.text)
    return tuple(template.pattern for template in ordered), _words_that_differ(ordered)


def _words_that_differ(templates: list[Template]) -> tuple[str, ...]:
    """The names of channels with a pattern each: what differs at the ends of their names; none if it is not clear."""
    names = [BORDER.split(template.text.rpartition("/")[2]) for template in templates]
    start, end = (len(shared(cuts)) for cuts in (names, [name[::-1] for name in names]))
    words = ["".join(name[start : len(name) - end]) for name in names]
    return tuple(words) if all(words) and len(set(words)) == len(words) and "{" not in "".join(words) else ()


def _tokens(pattern: str, templates: list[Template]) -> list[str]:
    samples = [next(iter(template.files.values())) for template in templates]
    return sorted(
        (match.token for match in matches(pattern, samples, "images" if "{channel}" in pattern else "labels")),
        key=natural,
    )


def _mask_patterns(masks: list[Template], facts: Facts) -> Iterator[tuple[str, tuple[str, ...]]]:
    """A pattern for all masks if each holds one label, then one after the other, the one with most cases first."""
    if (
        len(masks) > 1
        and all(_distinct(template, facts) <= 2 for template in masks)
        and (one := merged(masks, "{label}"))
    ):
        yield one, tuple(_tokens(one, masks))
    ordered = sorted(masks, key=lambda one: (-len(one.files), _no_masks(one, facts), -_distinct(one, facts), one.text))
    yield from ((template.pattern, ()) for template in ordered[:SHOWN])


def _answer(proposed: list[Proposed], sampled: Facts, settings: Settings, tell: Tell) -> Prepared:
    best = proposed[0]
    files = [file for case in best.gathered.cases.values() for file in (*case.masks.values(), *case.images.values())]
    todo = [file for file in files if file.name not in sampled]
    facts = sampled | (facts_of(todo, settings, tell, budget_s=BUDGET_S, partial=True) if todo else {})
    plan = plan_of(best.request, best.gathered, facts)
    doubts = [*plan.problems, *plan.doubts]
    if unknown := sum(file.name not in facts for file in files):
        doubts.append(
            f"only {len(files) - unknown} of {len(files)} files were opened in {BUDGET_S:g} s; the import opens all."
        )
    request = best.request
    target = settings.folder("raw") / f"Dataset{request.dataset_id:03d}_{request.name}"
    return Prepared(
        written=False,
        dataset_id=request.dataset_id,
        dataset_name=target.name,
        path=str(target),
        cases=len(best.gathered.training),
        test_cases=len(best.gathered.cases) - len(best.gathered.training),
        channels=tuple(plan.channels),
        labels={**plan.labels},
        changes=tuple(plan.changes),
        layouts=tuple(_layout(one, plan if one is best else None) for one in proposed[:SHOWN]),
        doubts=tuple(doubts),
        next_step="Nothing is written, and no layout fits. Tell the person the doubts."
        if plan.unfit
        else "Nothing is written. Show the person the pairs, ask for the names of labels and channels, then make "
        "the first layout's call with them.",
    )


def _layout(one: Proposed, plan: Plan | None) -> Layout:
    gathered = one.gathered
    pairs = (
        f"{clean(gathered.names[name])}: {some([file.name for file in case.images.values()], 6)} + "
        f"{some([file.name for file in case.masks.values()], 6)}"
        for name, case in gathered.training.items()
    )
    left = first([f"{name} ({why})" for name, why in gathered.left_over.items()], SHOWN)
    return Layout(
        call=str(_call(one, plan)), cases=len(gathered.training), pairs=tuple(islice(pairs, SHOWN)), left_over=left
    )


def _call(one: Proposed, plan: Plan | None) -> object:
    """The complete call; names that only a person knows are filled in as they would be without one."""
    asked = one.request
    arguments: dict[str, object] = {
        "source": asked.source,
        "dataset_id": int(asked.dataset_id),
        "name": asked.name,
        "images": list(asked.images),
        "labels": asked.labels,
    }
    tokens = one.gathered.channels
    arguments |= {"channels": list(asked.channels)} if asked.channels else {}
    arguments |= {"label_names": list(asked.label_names)} if asked.label_names else {}
    if plan is not None and plan.channels:
        named = plan.channels if tokens == [""] else [_pair(t, n) for t, n in zip(tokens, plan.channels, strict=True)]
        arguments["channels"] = list(named)
        values = [_pair(str(value), f"label_{value}") for value in plan.found]
        arguments["label_names"] = list(asked.label_names or one.gathered.labels) or values
        if plan.faulty and len(set(plan.faulty)) < len(one.gathered.training):
            arguments["leave_out"] = sorted(set(plan.faulty))
    return call("nnunet_prepare_dataset", **arguments)


def _pair(token: str, name: str) -> str:
    return token if token == name else f"{token}={name}"
