"""Bring your own folder: from a folder of pictures to a data set, or to all that is wrong."""

import hashlib
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from imseg.data.checks import fitness
from imseg.data.doubts.small_objects import narrow_share
from imseg.data.files import listing
from imseg.data.folder import inspection
from imseg.data.folder.config import FILE_NAME, FolderConfig, TaskWord, read_config
from imseg.data.folder.facts import ImageFacts, Progress, Survey, is_sampled, map_in_threads
from imseg.data.folder.folder_layout import SPLITS, FolderLayout, find_layout
from imseg.data.folder.label_folders import find_labels
from imseg.data.images import decoding, image_files
from imseg.data.images.modality import recognize_modality
from imseg.data.images.picture_file import probe
from imseg.data.masks import labeled_regions
from imseg.data.masks.recognize import recognize
from imseg.errors import Finding, ImsegError, and_more, raise_all
from imseg.types import POSITION, DataSet, Image, LabeledImage, Pages

_log = logging.getLogger(__name__)


def scan(
    path: str | Path,
    *,
    task: TaskWord | None = None,
    links_are: listing.Links = "refuse",
    turned: Mapping[str, int] | None = None,
    progress: Progress | None = None,
    files: inspection.KnownFiles | None = None,
) -> fitness.FolderScan:
    """Decode every file of a data folder once and return what is there and what is wrong.

    Problems of the data are listed, never raised.

    Args:
        path: The data folder.
        task: What the masks are; None: what ``imseg.toml`` says, or recognized from them.
        links_are: What is done with links that lead out of the folder.
        turned: The EXIF numbers that some pictures had before they were saved upright, by name.
        progress: Called with (done, total) after each picture.
        files: What is known already of files that have not changed: these are not decoded. It
            learns about the others, and keeps their pixels for the store. None: all are decoded.
    """
    root = Path(path)
    layout = find_layout(root, links_are=links_are)
    for split in labeled_regions.LABELED:
        pairs, wrong = labeled_regions.with_regions(getattr(layout, split), root / split, split)
        setattr(layout, split, pairs)
        layout.findings.extend(wrong)
    errors = [finding for finding in layout.findings if finding.severity == "error"]
    config = FolderConfig()
    config_errors: list[Finding] = []
    try:
        config = read_config(root)
    except ImsegError as error:
        config_errors = fitness.as_findings(error, (FILE_NAME,))
    config = replace(config, task=task or config.task)
    if files is not None and files.working_size is not None and layout.labeled:
        with suppress(ImsegError):  # a file that cannot be read is told below
            files.size = files.working_size(typical_size(layout.labeled, pages=config.pages))
    regions = config.task in (None, "instances")
    scope = inspection.Scope(config=config, regions=regions, files=files)
    survey, problems = _inspect_all(layout, scope, turned or {}, progress)
    errors += config_errors + fitness.unreadable(problems)
    for split in labeled_regions.LABELED:
        sizes = {each.name: each.size for each in getattr(survey, split)}
        errors += labeled_regions.beyond_images(getattr(layout, split), sizes, split)
    # What is left of the masks when some cannot be read would only mislead, and so do masks
    # without what imseg.toml says about them.
    telling = len(survey.labeled) == len(layout.labeled) and not config_errors
    return understand(layout, survey, config, errors=errors, telling=telling)


def understand(
    layout: FolderLayout,
    survey: Survey,
    config: FolderConfig,
    *,
    errors: Sequence[Finding] = (),
    telling: bool = True,
) -> fitness.FolderScan:
    """Return a scan with what masks mean and how pictures become bytes, or why that is not clear.

    Args:
        layout: The files or arrays.
        survey: The facts about those that can be read.
        config: What the user says about them, the task included.
        errors: What is wrong as yet.
        telling: Whether it is worth saying that masks have no meaning.
    """
    spec, failures = None, [*errors]
    _tell_pixel_sizes(layout, survey)
    if layout.labeled:
        try:
            spec = recognize(survey, task=config.task, config=config)
        except ImsegError as error:
            failures += fitness.as_findings(error) if telling else []
    if spec is not None and config.pages not in ("refuse", "channels"):
        spec = replace(spec, pages=config.pages)
    reading, unlike = image_files.find_reading(survey, pages=config.pages)
    return fitness.FolderScan(
        layout=layout,
        config=config,
        task=config.task,
        survey=survey,
        spec=spec,
        reading=reading,
        failures=(*failures, *unlike),
    )


def _tell_pixel_sizes(layout: FolderLayout, survey: Survey) -> None:
    """Give pictures of which it is known the size of their pixels."""
    known = {facts.name: facts.pixel_size for facts in survey.every() if facts.pixel_size}

    def told(image: Image) -> Image:
        return replace(image, pixel_size=known.get(image.name))

    if known:
        layout.unlabeled = tuple(map(told, layout.unlabeled))
    for split in labeled_regions.LABELED if known else ():
        pairs = getattr(layout, split)
        setattr(layout, split, tuple(replace(each, image=told(each.image)) for each in pairs))


def read_folder(
    path: str | Path,
    *,
    task: TaskWord | None = None,
    follow_links: bool = False,
    progress: Progress | None = None,
) -> DataSet:
    """Return the data set in a folder.

    The folder holds ``labeled/images`` and ``labeled/masks`` with equal stems (or
    ``labeled/masks/<label>``, one folder per label), and if wanted ``unlabeled``,
    ``val/{images,masks}``, ``test/{images,masks}`` and ``imseg.toml``. Every file is decoded once,
    so that nothing breaks later. Unlabeled pictures that are also labeled or in val are left out.

    Args:
        path: The data folder.
        task: What the masks are; None: what ``imseg.toml`` says, or recognized from them.
        follow_links: Whether links that lead out of the folder are read; else they are refused,
            because the folder of another person may lead to files that are private.
        progress: Called with (done, total) after each picture.

    Raises:
        ImsegError: If anything is wrong with the folder; everything at once.
    """
    links_are: listing.Links = "follow" if follow_links else "refuse"
    return data_set_of(scan(path, task=task, links_are=links_are, progress=progress))


def data_set_of(found: fitness.FolderScan) -> DataSet:
    """Return the data set of a folder, or of arrays, that was looked at.

    Raises:
        ImsegError: If the look found errors; all of them at once.
    """
    raise_all(finding.as_error() for finding in fitness.errors_of(found))
    if found.spec is None or found.reading is None:
        raise RuntimeError("data without errors have a spec and a reading")
    left_out = found.redundant
    if left_out:
        names = and_more(sorted(left_out))
        text = "left out %s that labeled or val holds too: %s"
        _log.warning(text, listing.counted(len(left_out), "unlabeled image"), names)
    layout, labeled = found.layout, found.survey.labeled
    looks = [facts.look for facts in labeled if facts.look is not None]
    pairs = (*layout.labeled, *layout.val, *layout.test)
    return DataSet(
        name=str(layout.root),
        spec=replace(found.spec, partly=any(pair.regions is not None for pair in pairs)),
        reading=found.reading,
        labeled=layout.labeled,
        unlabeled=tuple(image for image in layout.unlabeled if image.name not in left_out),
        val=layout.val,
        test=layout.test,
        digests={
            **found.survey.digests(),
            **labeled_regions.digests_of_parts(pairs, found.survey.digests()),
        },
        modality=recognize_modality(looks, channels=found.reading.channels),
        narrow=narrow_share(labeled),
    )


def largest_size(pairs: Sequence[LabeledImage], *, pages: Pages) -> tuple[int, int]:
    """Return the greatest height and the greatest width of pictures, in pixels.

    Args:
        pairs: Labeled pictures, at least one; of files only the headers are read.
        pages: What several pages in one file are.

    Raises:
        ImsegError: If a header cannot be read.
    """
    height, width = np.max([_size_of(each.image, pages=pages) for each in pairs], axis=0).tolist()
    return height, width


SAMPLED_FOR_SIZE = 50
"""Labeled pictures whose headers are looked at to find the typical size."""


def typical_size(pairs: Sequence[LabeledImage], *, pages: Pages) -> tuple[int, int]:
    """Return the median height and the median width of the first pictures, in pixels.

    Args:
        pairs: Labeled pictures, at least one; of files only the headers are read.
        pages: What several pages in one file are.

    Raises:
        ImsegError: If a header cannot be read.
    """
    sizes = [_size_of(pair.image, pages=pages) for pair in pairs[:SAMPLED_FOR_SIZE]]
    height, width = np.median(np.array(sizes), axis=0).astype(int).tolist()
    return height, width


def _size_of(image: Image, *, pages: Pages) -> tuple[int, int]:
    """Return the height and width of a picture; of files only the header is read."""
    if isinstance(image.pixels, Path):
        return probe(image.pixels, pages=pages).size
    return image.pixels.shape[0], image.pixels.shape[1]


def _inspect_all(
    layout: FolderLayout,
    scope: inspection.Scope,
    turned: Mapping[str, int],
    progress: Progress | None,
) -> tuple[Survey, list[tuple[str, decoding.UnreadablePicture]]]:
    """Return the facts about every readable file, and the files that are not."""
    entries: list[tuple[str, int, Image | LabeledImage]] = []
    for split in SPLITS:
        entries += [(split, place, each) for place, each in enumerate(getattr(layout, split))]
    scope = replace(scope, pictures=len(entries))

    def look(placed: tuple[str, int, Image | LabeledImage]) -> inspection.Inspected:
        split, place, entry = placed
        # Test pictures are not stored: the evaluator alone reads them.
        return inspection.inspect(
            entry,
            layout.root,
            scope,
            keep=split != "test",
            closely=is_sampled(place, len(getattr(layout, split))),
            turned=turned.get(entry.name, 1),
        )

    facts: dict[str, list[ImageFacts]] = {split: [] for split in SPLITS}
    problems: list[tuple[str, decoding.UnreadablePicture]] = []
    results = map_in_threads(look, entries, progress=progress)
    for (split, *_), result in zip(entries, results, strict=True):
        if isinstance(result, ImageFacts):
            facts[split].append(result)
        else:
            problems += result
    return Survey(**{split: tuple(members) for split, members in facts.items()}), problems


def hidden_masks(
    dataset: DataSet,
    masks: str | Path,
    *,
    progress: Progress | None = None,
    files: inspection.KnownFiles | None = None,
) -> tuple[LabeledImage, ...]:
    """Return the unlabeled pictures of a data set with their masks from another folder.

    Args:
        dataset: Its unlabeled pictures must come from files.
        masks: A folder of masks with the stems of the pictures, or with a folder of such masks for
            each label; it may hold others too.
        progress: Called with (done, total) after each picture.
        files: What is known already of masks that have not changed; see ``scan``.

    Raises:
        ImsegError: If masks are missing, unreadable, of another size, or do not fit the data set.
    """
    folder, spec = Path(masks), dataset.spec
    if not folder.is_dir():
        raise ImsegError(
            f"There is no folder {folder} with masks of the unlabeled images.",
            expected="a folder of masks with the stems of the unlabeled images.",
            hint="check --unlabeled-masks.",
        )
    labels = spec.names if spec.coding == "planes" else ()
    there = find_labels(folder)
    places = {label: there.get(label, folder / label) for label in labels} or {"": folder}
    missing = [label for label, place in places.items() if not place.is_dir()]
    if missing:
        raise ImsegError(
            f"{folder} lacks folders of labels.",
            expected="a folder for each label: " + ", ".join(labels) + ".",
            got=f"no folder {and_more(missing)}.",
            hint="where a label does not occur on an image, save an all-black mask.",
        )
    errors: list[ImsegError] = []
    found = {label: _masks_in(place, dataset, errors) for label, place in places.items()}
    raise_all(errors)
    pairs = []
    for image in dataset.unlabeled:
        paths = {label: by_stem[_stem(image)] for label, by_stem in found.items()}
        pairs.append(LabeledImage(image, paths.get("", paths)))

    def problem(pair: LabeledImage) -> ImsegError | None:
        return _problem_of_pair(pair, dataset, files)

    raise_all(error for error in map_in_threads(problem, pairs, progress=progress) if error)
    return tuple(pairs)


def _masks_in(folder: Path, dataset: DataSet, errors: list[ImsegError]) -> dict[str, Path]:
    """Return the mask of each stem; what is wrong with those that are needed goes to ``errors``."""
    stems = listing.list_pictures(folder)[0]
    other_case = listing.stems_by_case(stems, map(_stem, dataset.unlabeled))
    stems = {other_case.get(stem, stem): paths for stem, paths in stems.items()}
    missing = [image.name for image in dataset.unlabeled if _stem(image) not in stems]
    needed = [stems.get(_stem(image), []) for image in dataset.unlabeled]
    doubled = [" and ".join(path.name for path in paths) for paths in needed if len(paths) > 1]
    if missing:
        told = list(missing)
        for place, name in enumerate(missing[:3]):
            if guess := listing.nearest_stem(Path(name).stem, stems):
                told[place] += f" (is it {guess}?)"
        problem = ImsegError(
            f"{folder} lacks masks of {listing.counted(len(missing), 'unlabeled image')}.",
            expected="a mask with the stem of each unlabeled image.",
            got="no mask for " + and_more(told) + ".",
            hint="add the masks, or check --unlabeled-masks.",
        )
        errors.append(problem)
    if doubled:
        problem = ImsegError(
            f"{listing.counted(len(doubled), 'stem')} in {folder} with more than one mask.",
            expected="one mask for each image.",
            got=and_more(doubled) + ".",
            hint="remove one of them.",
        )
        errors.append(problem)
    return {stem: paths[0] for stem, paths in stems.items()}


def _problem_of_pair(
    pair: LabeledImage, dataset: DataSet, files: inspection.KnownFiles | None
) -> ImsegError | None:
    """Return what is wrong with the mask files of a pair, if anything is."""
    masks, spec = inspection.mask_files(pair), dataset.spec
    # As ``imseg.toml`` would say it.
    void = spec.void if spec.void is None or spec.coding != "colors" else f"#{spec.void:06x}"
    scope = inspection.Scope(
        config=FolderConfig(void=void, pages=spec.pages), regions=False, files=files
    )
    for label, path in masks.items():
        try:
            facts = inspection.facts_of_mask(
                path, scope, label=label, keep=True, whole=POSITION in masks
            )
            size = _size_of(pair.image, pages=dataset.reading.pages)
        except ImsegError as error:
            return error
        if facts.size != size:
            return ImsegError(
                f"{path} does not fit its image.",
                expected=f"the size of {pair.name}, {fitness.size_in_words(size)}.",
                got=f"{fitness.size_in_words(facts.size)}.",
                hint="export the mask at full size.",
            )
        if problem := fitness.mask_problem(replace(facts, name=str(path)), spec):
            return problem
    return None


def _stem(image: Image) -> str:
    """Return what joins a picture with its mask."""
    return listing.stem_of(image.pixels if isinstance(image.pixels, Path) else Path(image.name))


_SHARE = 5


def held_out(count: int) -> int:
    """Return how many labeled images are for choosing: a fifth, at least 2; of 2 or 3 it is 1."""
    return 1 if count < 4 else max(2, (count + _SHARE // 2) // _SHARE)


def split_validation(labels: Sequence[frozenset[int]], *, seed: int) -> tuple[list[int], list[int]]:
    """Return the indices of images to learn from and of images to choose by, both ascending.

    A fifth of the images, at least 2, is for choosing; of 2 or 3 images it is 1. Each label is
    spread over both sides in proportion, the rarest first; an image with a label that no other has
    stays in training while there is room. The result depends on the labels, their order and the
    seed alone, and is the same on every machine.

    Args:
        labels: What is to be seen on each image; see ``Task.strata``.
        seed: Which of the equally good splits to take.

    Raises:
        ValueError: If there are fewer than two images.
    """
    count = len(labels)
    if count < 2:
        raise ValueError(f"{count} labeled images cannot be split")
    number_held_out = held_out(count)

    def shuffle_key(index: int) -> bytes:
        # No generator: no library promises the same shuffle for all of its versions.
        return hashlib.sha256(f"validation {seed} {index}".encode()).digest()

    order = sorted(range(count), key=shuffle_key)
    frequency = Counter(label for each in labels for label in each)
    share = number_held_out / count
    chosen_by = {label: n * share if n > 1 else 0.0 for label, n in frequency.items()}
    wanted = [{label: n - chosen_by[label] for label, n in frequency.items()}, chosen_by]
    room = [count - number_held_out, number_held_out]
    sides: tuple[list[int], list[int]] = ([], [])
    rarest_first = sorted(frequency, key=lambda label: (frequency[label], label))
    waiting = set(range(count))

    for label in (*rarest_first, None):
        for index in order:
            if index not in waiting or (label is not None and label not in labels[index]):
                continue
            needs = [
                (room[side] > 0, 0.0 if label is None else wanted[side][label], room[side] / count)
                for side in (0, 1)
            ]
            # Training comes first, so it wins a tie.
            side = needs.index(max(needs))
            sides[side].append(index)
            room[side] -= 1
            waiting.discard(index)
            for each in labels[index]:
                wanted[side][each] -= 1
    return sorted(sides[0]), sorted(sides[1])
