"""What an import will write: channels, labels, endings and each file, and why it cannot be."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain

from ...image_files import ending_of
from ...schemas.datasets import FileFacts, PrepareRequest, SourceFile, Writing
from ...texts import clean, first, some, told
from .case_checks import close, near, shape, spacing
from .import_cases import Case, Gathered, pairs_of

KEPT = (".nii.gz", ".nrrd", ".mha")  # what nnU-Net's SimpleITK reader takes and holds each geometry
MOST_SERIES = 8  # that are described
JPEG = (".jpg", ".jpeg")
COLOURS = {"RGB": ("R", "G", "B"), "RGBA": ("R", "G", "B", "A")}
DISTINCT = 255  # labels of a dataset; more are shades or instances
RARE = 5  # a value in fewer than one of so many cases is asked about; a choice of ours
OF_CT = -500  # HU: lower than any tissue, and lower than the values of other modalities
Facts = dict[str, FileFacts]


@dataclass
class Plan:
    """How the dataset will look. Faults in files are told with the names of their cases."""

    channels: list[str] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)
    ending: str = ""
    writings: list[Writing] = field(default_factory=list)
    changes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    faulty: list[str] = field(default_factory=list)  # cases, by their name in the source
    found: list[int] = field(default_factory=list)  # values in the masks
    cases: int = 0
    of_files: int = 0  # problems that some files have, not the layout

    @property
    def unfit(self) -> bool:
        """Whether the layout cannot be meant: its problems are not those of some files."""
        return len(self.problems) > self.of_files or 0 < self.cases <= len(set(self.faulty))


def plan_of(request: PrepareRequest, gathered: Gathered, facts: Facts) -> Plan:
    """Decide everything from what the files hold; files without facts were not looked at."""
    plan = Plan(problems=list(gathered.problems), cases=len(gathered.training), of_files=len(gathered.problems))
    _leave_out_other_tests(gathered, facts)
    _check_files(gathered, facts, plan)
    pictures = _kind(gathered, facts, plan)
    wanted = _channels(gathered, facts, pictures, plan)
    mapping = _labels(request, gathered, facts, plan)
    plan.ending = ".png" if pictures else _ending(gathered, plan)
    for name, case in gathered.cases.items():
        part = "Tr" if case.masks else "Ts"
        plan.writings += _images(f"images{part}/{name}", case, gathered, facts, wanted, plan)
        if case.masks:
            plan.writings.append(_mask(f"labelsTr/{name}{plan.ending}", case, gathered, facts, mapping, plan.ending))
    _tell(gathered, plan)
    return plan


def _files(gathered: Gathered) -> Iterator[tuple[str, SourceFile]]:
    for name, case in gathered.cases.items():
        for file in (*case.images.values(), *case.masks.values()):
            yield gathered.names[name], file


def _leave_out_other_tests(gathered: Gathered, facts: Facts) -> None:
    """Leave out images without mask of other channels than those with one, as a film beside its frames."""
    trained = {
        facts[one.name].channels
        for case in gathered.training.values()
        for one in case.images.values()
        if _known(one, facts)
    }
    for name, case in list(gathered.cases.items()) if trained else ():
        images = case.images.values()
        if not case.masks and any(_known(one, facts) and facts[one.name].channels not in trained for one in images):
            del gathered.cases[name], gathered.names[name]
            why = "it holds other channels than the images with masks"
            gathered.left_over |= {one.name: why for one in images}


def _check_files(gathered: Gathered, facts: Facts, plan: Plan) -> None:
    faults: dict[str, list[tuple[str, str]]] = defaultdict(list)
    several = [(name, file) for name, file in _files(gathered) if file.name in facts and facts[file.name].series]
    for name, file in _files(gathered):
        if (name, file) in several:
            continue
        if file.name in facts and (error := facts[file.name].error):
            faults["files that cannot be read"].append((name, f"{file.name}: {error}"))
        elif file.mask and file.name in facts and (why := _no_labels(file, facts[file.name])):
            faults["masks that are shades, not labels"].append((name, why))
    for name, case in gathered.cases.items():
        for kind, why in _geometry(case, facts):
            faults[kind].append((gathered.names[name], why))
    if several:
        plan.problems.append(_choose_series([name for name, _ in several], several[0][1], facts))
        plan.faulty += [name for name, _ in several]
    for kind, cases in faults.items():
        plan.problems.append(f"{kind}, {len(cases)}: {told(cases)}.")
        plan.faulty += [name for name, _ in cases]
    plan.of_files += len(faults)
    notes = sorted({facts[file.name].note for _, file in _files(gathered) if file.name in facts} - {""})
    plan.doubts += [f"{note}." for note in notes[:3]]


def _choose_series(cases: list[str], file: SourceFile, facts: Facts) -> str:
    described = "; ".join(first(facts[file.name].series, MOST_SERIES))
    return (
        f"folders where it is not clear which DICOM series is meant, {len(cases)}: {some(cases)}. Put the number or "
        f"description of one behind the pattern, as in *.dcm#4. {clean(file.name)} holds {described}."
    )


def _no_labels(file: SourceFile, facts: FileFacts) -> str:
    if ending_of(file.name).lower() in JPEG:
        return "JPEG blurs the values; export the masks as PNG"
    if facts.picture not in ("", "grey") and not facts.alike and not facts.palette:
        return "it is coloured; export it in grey, a value for each label"
    if facts.fractional or facts.not_numbers or facts.infinite:
        return f"{facts.fractional + facts.not_numbers + facts.infinite} voxels are not whole"
    if len(facts.values) > DISTINCT or facts.uncounted:
        return f"more than {DISTINCT} different values"
    return f"the value {min(facts.values)}" if facts.values and min(facts.values) < 0 else ""


def _geometry(case: Case, facts: Facts) -> Iterator[tuple[str, str]]:
    """Where the files of a case do not lie on one grid. Nothing is resampled: it would have to be decided how."""
    files = [file for file in (*case.images.values(), *case.masks.values()) if file.name in facts]
    known = [(file, facts[file.name]) for file in files if not facts[file.name].error]
    if not known:
        return
    (_, first), *others = known
    for file, one in others:
        kind = "masks" if file.mask else "channels"
        if one.shape != first.shape:
            yield f"{kind} of another size than the image", f"{shape(one.shape)}, image {shape(first.shape)}"
        elif one.picture or first.picture:
            continue
        elif not close(one.spacing, first.spacing):
            yield f"{kind} of another spacing", f"{spacing(one.spacing)}, image {spacing(first.spacing)}"
        elif not near(one.direction, first.direction) or not near(one.origin, first.origin):
            yield f"{kind} at another place or in another direction than the image", file.name


def _kind(gathered: Gathered, facts: Facts, plan: Plan) -> bool:
    """Whether these are pictures."""
    known = [file for _, file in _files(gathered) if _known(file, facts)]
    kinds = {bool(facts[file.name].picture) for file in known}
    if len({(file.mask, bool(facts[file.name].picture)) for file in known}) == len(kinds) == 2:
        plan.problems.append(
            "images and masks are of two kinds, volumes and pictures of single slices. Stack those of each case into "
            "one file, with the geometry of its volume."
        )
    elif len(kinds) > 1:
        plan.problems.append("some files are pictures and others volumes. Import them as two datasets.")
    return kinds == {True}


def _known(file: SourceFile, facts: Facts) -> bool:
    return file.name in facts and not facts[file.name].error


def _channels(gathered: Gathered, facts: Facts, pictures: bool, plan: Plan) -> str:
    """Name the channels; returns the colours that pictures get."""
    images = [facts[file.name] for _, file in _files(gathered) if not file.mask and _known(file, facts)]
    if len(gathered.channels) > 1:
        plan.channels = gathered.channel_names
        if any(one.channels > 1 or (one.picture not in ("", "grey") and not one.alike) for one in images):
            plan.problems.append("where each channel has its own file, an image must be grey and hold one channel.")
        return "grey" if pictures else ""
    colours = _colours(images, plan) if pictures else ""
    found = COLOURS.get(colours) or _in_one_file(images, plan)
    given = gathered.channel_names
    if given and len(given) != len(found):
        plan.problems.append(f"channels names {len(given)} channels ({some(given)}); the images have {len(found)}.")
    plan.channels = given or list(found)
    return colours


def _in_one_file(images: list[FileFacts], plan: Plan) -> tuple[str, ...]:
    counts = sorted({one.channels for one in images}) or [1]
    if len(counts) > 1:
        plan.problems.append(f"images with different numbers of channels: {some(counts)}.")
    if counts[0] == 1:
        return (_single(images, plan),)
    plan.changes.append(f"each image of {counts[0]} channels is now {counts[0]} files")
    return tuple(f"channel_{number}" for number in range(counts[0]))


def _single(images: list[FileFacts], plan: Plan) -> str:
    if images and all(one.lowest is not None and one.lowest < OF_CT for one in images):
        plan.doubts.append("the values reach below -500 as in CT; nnU-Net treats a channel called CT in its own way.")
        return "CT"
    return "image"


def _colours(images: list[FileFacts], plan: Plan) -> str:
    coloured = [one for one in images if one.picture != "grey" and not one.alike]
    if not coloured:
        if any(one.picture != "grey" for one in images):
            plan.changes.append("pictures whose colours are equal are now grey")
        return "grey"
    alpha = any(one.picture == "RGBA" and not one.opaque for one in images)
    if not alpha and any(one.picture == "RGBA" for one in images):
        plan.changes.append("the alpha channel, which is opaque everywhere, is left out")
    if grey := sum(one.picture == "grey" for one in images):
        plan.changes.append(f"{grey} grey pictures among coloured ones now have equal colours")
    return "RGBA" if alpha else "RGB"


def _labels(request: PrepareRequest, gathered: Gathered, facts: Facts, plan: Plan) -> dict[str, dict[int, int]]:
    """For each {label} (or "") what every value becomes."""
    held: dict[str, list[set[int]]] = defaultdict(list)
    sound = [case for name, case in gathered.cases.items() if gathered.names[name] not in plan.faulty]
    for case in sound:
        for token, file in case.masks.items():
            if _known(file, facts) and not _no_labels(file, facts[file.name]):
                held[token].append(set(facts[file.name].values) - {0})
    if gathered.labels:
        return _each_label(gathered, held, plan)
    plan.found = sorted(set().union(*held[""]))
    if not request.label_names and (rare := list(_rare(held[""]))):
        plan.doubts.append(f"few masks hold these values, which may be mistakes: {told(rare)}.")
    names = _value_names(request, plan)
    plan.labels = _numbered(names[value] for value in sorted(names))
    mapping = {value: plan.labels[name] for value, name in names.items()}
    if changed := [f"{old} to {new}" for old, new in sorted(mapping.items()) if old != new]:
        plan.changes.append(f"values in the masks: {', '.join(changed)}")
    if plan.found and (unused := sorted(set(names) - {0} - set(plan.found))):
        plan.doubts.append(f"no mask holds the values {some(unused)}, which label_names names.")
    if len(plan.labels) == 1 and not plan.faulty:
        plan.problems.append("the masks hold no value but 0.")
        plan.of_files += 1
    return {"": mapping}


def _rare(masks: list[set[int]]) -> Iterator[tuple[str, str]]:
    for value, count in sorted(Counter(chain.from_iterable(masks)).items()):
        if RARE * count < len(masks):
            yield str(value), f"in {count} of {len(masks)} cases"


def _numbered(names: Iterable[str]) -> dict[str, int]:
    """The labels in order, background as the lowest and ignore as the highest."""
    order = sorted(dict.fromkeys(["background", *names]), key=lambda name: name == "ignore")
    return {name: number for number, name in enumerate(order)}


def _value_names(request: PrepareRequest, plan: Plan) -> dict[int, str]:
    given = pairs_of(request.label_names)
    if not given:
        return {value: f"label_{value}" for value in plan.found}
    if not any("=" in entry for entry in request.label_names) and len(given) == len(plan.found):
        if "background" in given:
            plan.problems.append(
                f"label_names: background without a value would drop one of {some(plan.found, 9)}. Name the labels as "
                '"VALUE=NAME", the background not at all.'
            )
        return dict(zip(plan.found, given, strict=True))
    if odd := [key for key in given if not key.isdecimal()]:
        plan.problems.append(f'label_names {some(odd)} must be "VALUE=NAME"; the masks hold {some(plan.found, 9)}.')
        return {value: f"label_{value}" for value in plan.found}
    names = {int(key): name for key, name in given.items()}
    if names.pop(0, "background") != "background":
        plan.problems.append("label_names: the value 0 is the background in nnU-Net.")
    if strange := [value for value in plan.found if value not in names]:
        plan.problems.append(
            f"the masks also hold {some(strange, 9)}, which label_names does not name. Name them, or write "
            f'"{strange[0]}=background" to drop them.'
        )
    return names


def _each_label(gathered: Gathered, held: dict[str, list[set[int]]], plan: Plan) -> dict[str, dict[int, int]]:
    values = {token: set().union(*held.get(token, [])) for token in gathered.labels}
    plan.labels = _numbered(gathered.labels.values())
    if mixed := [token for token in gathered.labels if len(values[token]) > 1]:
        plan.problems.append(
            f"masks for one label that hold several values: {told((t, str(values[t])) for t in mixed)}."
        )
    if empty := [token for token in gathered.labels if token in held and not values[token]]:
        plan.doubts.append(f"these masks are empty in every case: {some(empty)}.")
    if lacking := list(_lacking(gathered)):
        plan.doubts.append(f"cases without a mask of a label, which is background there: {told(lacking)}.")
    plan.changes.append(f"the masks {some(list(gathered.labels), 6)} are merged; where they overlap, the later wins")
    return {
        token: {value: plan.labels.get(name, 0) for value in values[token]} for token, name in gathered.labels.items()
    }


def _lacking(gathered: Gathered) -> Iterator[tuple[str, str]]:
    """Each label without a mask in some cases, and these cases."""
    for token, label in gathered.labels.items():
        if lacking := [gathered.names[name] for name, case in gathered.training.items() if token not in case.masks]:
            yield label, f"{len(lacking)}: {some(lacking)}"


def _ending(gathered: Gathered, plan: Plan) -> str:
    found = sorted({ending_of(file.name).lower() or "DICOM" for _, file in _files(gathered)})
    if found == [".mhd"] or found == [".mha", ".mhd"]:
        target = ".mha"
    else:
        target = found[0] if len(found) == 1 and found[0] in KEPT else ".nii.gz"
    if found != [target]:
        plan.changes.append(f"volumes ({', '.join(found)}) are written as {target}; no voxel is resampled")
    return target


def _images(stem: str, case: Case, gathered: Gathered, facts: Facts, wanted: str, plan: Plan) -> Iterator[Writing]:
    number = 0
    for token in filter(case.images.__contains__, gathered.channels):
        file = case.images[token]
        one = facts.get(file.name, FileFacts())
        many = one.channels if not wanted else 1
        targets = tuple(f"{stem}_{number + part:04d}{plan.ending}" for part in range(many))
        number += many
        whole = many == 1 and ending_of(file.name).lower() == plan.ending and one.picture == wanted
        yield Writing(sources=(file,), targets=targets, as_it_is=whole, picture="" if whole else wanted)


def _mask(
    target: str, case: Case, gathered: Gathered, facts: Facts, mapping: dict[str, dict[int, int]], ending: str
) -> Writing:
    order = [token for token in gathered.labels if token in case.masks] or [""]
    files = tuple(case.masks[token] for token in order)
    values = tuple(mapping[token] for token in order)
    same = len(files) == 1 and all(old == new for old, new in values[0].items())
    one = facts.get(files[0].name, FileFacts())
    whole = same and ending_of(files[0].name).lower() == ending and one.picture in ("", "grey")
    return Writing(sources=files, targets=(target,), as_it_is=whole, values=() if whole else values)


def _tell(gathered: Gathered, plan: Plan) -> None:
    """What differs from the source beside the values."""
    tests = [gathered.names[name] for name, case in gathered.cases.items() if not case.masks]
    if tests:
        plan.changes.append(f"{len(tests)} cases without mask lie in imagesTs: {some(tests)}")
    if renamed := [f"{clean(old)} is now {new}" for new, old in gathered.names.items() if new != old]:
        plan.changes.append(f"{len(renamed)} cases have other names (case_names.json): {some(renamed)}")
    pictures = sorted({ending_of(file.name).lower() for _, file in _files(gathered)} - {".png"})
    if plan.ending == ".png" and pictures:
        plan.changes.append(f"{', '.join(pictures)} pictures are written as PNG, without loss")
    reasons: dict[str, list[str]] = defaultdict(list)
    for name, why in gathered.left_over.items():
        reasons[why].append(name)
    plan.changes += [f"not imported, {why}: {some(names)}" for why, names in reasons.items()]
