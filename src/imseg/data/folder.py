"""Bring your own folder: from a folder of pictures to a data set, or to all that is wrong."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from imseg.data.config import FILE_NAME, FolderConfig, read_config
from imseg.data.encoding import describe_values, find_spec, unknown_values
from imseg.data.facts import Facts, Progress, Survey, inspect, map_in_threads, mask_facts
from imseg.data.image_io import UnreadablePicture, probe, read_mask
from imseg.data.layout import Layout, counted, find_layout, list_pictures, nearest_stem
from imseg.data.problems import as_findings, find_problems, redundant, unreadable
from imseg.errors import Finding, ImsegError, and_more, raise_all
from imseg.types import DataSet, Image, Kind, LabeledImage, TargetSpec

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderScan:
    """What one look at every file of a data folder gave."""

    layout: Layout
    """The files, by split."""
    config: FolderConfig
    """``imseg.toml``; the defaults if it is missing or wrong."""
    survey: Survey
    """The facts about every readable file."""
    spec: TargetSpec | None
    """What mask values mean; None if that could not be found out."""
    errors: tuple[Finding, ...]
    """Everything that makes the folder unfit for training."""

    @property
    def redundant(self) -> frozenset[str]:
        """Unlabeled pictures that are also labeled or in val; they are left out."""
        return redundant(self.survey)


def scan(
    path: str | Path, *, task: Kind | None = None, progress: Progress | None = None
) -> FolderScan:
    """Decode every file of a data folder once and return what is there and what is wrong.

    Problems of the data are listed, never raised.

    Args:
        path: The data folder.
        task: What a pixel is; None: what ``imseg.toml`` says, or recognized from the masks.
        progress: Called with (done, total) after each picture.
    """
    root = Path(path)
    layout = find_layout(root)
    errors = [finding for finding in layout.findings if finding.severity == "error"]
    config = FolderConfig()
    try:
        config = read_config(root)
    except ImsegError as error:
        errors += as_findings(error, (FILE_NAME,))
    survey, problems = _inspect_all(layout, progress)
    errors += unreadable(problems)
    spec = None
    if layout.labeled:
        try:
            spec = find_spec(survey.label_counts(), task=task, config=config)
        except ImsegError as error:
            # What is left of the masks when some cannot be read would only mislead.
            if len(survey.labeled) == len(layout.labeled):
                errors += as_findings(error)
    errors += find_problems(survey, spec, labeled=len(layout.labeled))
    return FolderScan(layout=layout, config=config, survey=survey, spec=spec, errors=tuple(errors))


def read_folder(
    path: str | Path, *, task: Kind | None = None, progress: Progress | None = None
) -> DataSet:
    """Return the data set in a folder.

    The folder holds ``labeled/images`` and ``labeled/masks`` with equal stems, and if wanted
    ``unlabeled``, ``val/{images,masks}``, ``test/{images,masks}`` and ``imseg.toml``. Every file is
    decoded once, so that nothing breaks later. Unlabeled pictures that are also labeled or in val
    are left out.

    Args:
        path: The data folder.
        task: What a pixel is; None: what ``imseg.toml`` says, or recognized from the masks.
        progress: Called with (done, total) after each picture.

    Raises:
        ImsegError: If anything is wrong with the folder; everything at once.
    """
    return data_set_of(scan(path, task=task, progress=progress))


def data_set_of(found: FolderScan) -> DataSet:
    """Return the data set of a folder that was looked at.

    Raises:
        ImsegError: If the look found errors; all of them at once.
    """
    raise_all(finding.as_error() for finding in found.errors)
    if found.spec is None:
        raise RuntimeError("a folder without errors has a spec")
    left_out = found.redundant
    if left_out:
        names = and_more(sorted(left_out))
        text = "left out %s that labeled or val holds too: %s"
        _log.warning(text, counted(len(left_out), "unlabeled image"), names)
    layout = found.layout
    return DataSet(
        name=str(layout.root),
        spec=found.spec,
        channels=found.survey.channels,
        labeled=layout.labeled,
        unlabeled=tuple(image for image in layout.unlabeled if image.name not in left_out),
        val=layout.val,
        test=layout.test,
    )


def hidden_masks(
    dataset: DataSet, masks: str | Path, *, progress: Progress | None = None
) -> tuple[LabeledImage, ...]:
    """Return the unlabeled pictures of a data set with their masks from another folder.

    Args:
        dataset: Its unlabeled pictures must come from files.
        masks: A folder of masks with the stems of the pictures; it may hold others too.
        progress: Called with (done, total) after each mask.

    Raises:
        ImsegError: If masks are missing, unreadable, of another size, or hold unknown values.
    """
    folder = Path(masks)
    if not folder.is_dir():
        raise ImsegError(
            f"There is no folder {folder} with masks of the unlabeled images.",
            expected="a folder of masks with the stems of the unlabeled images.",
            hint="check --unlabeled-masks.",
        )
    stems = list_pictures(folder)[0]
    missing = [image.name for image in dataset.unlabeled if _stem(image) not in stems]
    wanted = [stems.get(_stem(image), []) for image in dataset.unlabeled]
    doubled = [paths for paths in wanted if len(paths) > 1]
    errors = []
    if missing:
        errors.append(_no_mask_for(missing, folder, list(stems)))
    if doubled:
        names = [" and ".join(path.name for path in paths) for paths in doubled]
        errors.append(
            ImsegError(
                f"{counted(len(doubled), 'stem')} in {folder} with more than one mask.",
                expected="one mask for each image.",
                got=and_more(names) + ".",
                hint="remove one of them.",
            )
        )
    raise_all(errors)
    pairs = tuple(LabeledImage(image, stems[_stem(image)][0]) for image in dataset.unlabeled)

    def problem(pair: LabeledImage) -> ImsegError | None:
        return _problem_of_pair(pair, dataset.spec)

    raise_all(error for error in map_in_threads(problem, pairs, progress=progress) if error)
    return pairs


def _inspect_all(
    layout: Layout, progress: Progress | None
) -> tuple[Survey, list[tuple[str, UnreadablePicture]]]:
    """Return the facts about every readable file, and the files that are not."""
    splits: dict[str, Sequence[Image | LabeledImage]] = {
        "labeled": layout.labeled,
        "unlabeled": layout.unlabeled,
        "val": layout.val,
        "test": layout.test,
    }
    entries = [(split, entry) for split, members in splits.items() for entry in members]
    results = map_in_threads(
        lambda entry: inspect(entry[1], layout.root), entries, progress=progress
    )
    facts: dict[str, list[Facts]] = {split: [] for split in splits}
    problems: list[tuple[str, UnreadablePicture]] = []
    for (split, _), result in zip(entries, results, strict=True):
        if isinstance(result, Facts):
            facts[split].append(result)
        else:
            problems += result
    return Survey(**{split: tuple(members) for split, members in facts.items()}), problems


def _problem_of_pair(pair: LabeledImage, spec: TargetSpec) -> ImsegError | None:
    """Return what is wrong with the mask file of a pair, if anything is."""
    path, pixels = pair.mask, pair.image.pixels
    if not isinstance(path, Path):
        raise TypeError("the masks of unlabeled images come from files")
    try:
        facts = mask_facts(str(path), read_mask(path))
        size = probe(pixels).size if isinstance(pixels, Path) else pixels.shape[:2]
    except ImsegError as error:
        return error
    if facts.size != size:
        return ImsegError(
            f"{path} does not fit its image.",
            expected=f"the size of {pair.name}, {size[0]}x{size[1]}.",
            got=f"{facts.size[0]}x{facts.size[1]}.",
            hint="export the mask at full size.",
        )
    strange = unknown_values(facts.counts, spec)
    if strange:
        return ImsegError(
            f"{path} holds values that no labeled mask has.",
            expected=describe_values(spec),
            got=and_more([str(value) for value in strange], shown=8) + ".",
            hint=f"list them under [classes] in {FILE_NAME}, or set void there.",
        )
    return None


def _no_mask_for(missing: list[str], folder: Path, stems: list[str]) -> ImsegError:
    shown = []
    for name in missing[:3]:
        guess = nearest_stem(Path(name).stem, stems)
        shown.append(name + (f" (is it {guess}?)" if guess else ""))
    return ImsegError(
        f"{folder} lacks masks of {counted(len(missing), 'unlabeled image')}.",
        expected="a mask with the stem of each unlabeled image.",
        got="no mask for " + and_more([*shown, *missing[3:]]) + ".",
        hint="add the masks, or check --unlabeled-masks.",
    )


def _stem(image: Image) -> str:
    """Return what joins a picture with its mask."""
    return image.pixels.stem if isinstance(image.pixels, Path) else Path(image.name).stem
