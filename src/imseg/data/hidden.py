"""Masks of unlabeled pictures: for upper bounds, which may see them, and for audits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from imseg.data.class_keys import Key
from imseg.data.config import FolderConfig
from imseg.data.facts import Progress, map_in_threads
from imseg.data.image_io import probe, read_mask
from imseg.data.inspection import Scope, mask_facts
from imseg.data.listing import counted, list_pictures, nearest_stem
from imseg.data.mask_fit import mask_problem
from imseg.data.problems import size_in_words
from imseg.errors import ImsegError, and_more, raise_all
from imseg.types import DataSet, Image, LabeledImage, TargetSpec


def hidden_masks(
    dataset: DataSet, masks: str | Path, *, progress: Progress | None = None
) -> tuple[LabeledImage, ...]:
    """Return the unlabeled pictures of a data set with their masks from another folder.

    Args:
        dataset: Its unlabeled pictures must come from files.
        masks: A folder of masks with the stems of the pictures, or with a folder of such masks for
            each label; it may hold others too.
        progress: Called with (done, total) after each picture.

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
    missing = [label for label in labels if not (folder / label).is_dir()]
    if missing:
        raise ImsegError(
            f"{folder} lacks folders of labels.",
            expected="a folder for each label: " + ", ".join(labels) + ".",
            got=f"no folder {and_more(missing)}.",
            hint="where a label does not occur on an image, save an all-black mask.",
        )
    places = [folder / label for label in labels] or [folder]
    found: list[dict[str, Path]] = []
    errors: list[ImsegError] = []
    for place in places:
        by_stem, problems = _masks_in(place, dataset.unlabeled)
        found.append(by_stem)
        errors += problems
    raise_all(errors)
    pairs = []
    for image in dataset.unlabeled:
        files = [by_stem[_stem(image)] for by_stem in found]
        mask = dict(zip(labels, files, strict=True)) if labels else files[0]
        pairs.append(LabeledImage(image, mask))

    def problem(pair: LabeledImage) -> ImsegError | None:
        return _problem_of_pair(pair, spec, pages=dataset.reading.pages)

    raise_all(error for error in map_in_threads(problem, pairs, progress=progress) if error)
    return tuple(pairs)


def _masks_in(folder: Path, images: Sequence[Image]) -> tuple[dict[str, Path], list[ImsegError]]:
    """Return the mask of each stem, and what is wrong with those that are needed."""
    stems = list_pictures(folder)[0]
    missing = [image.name for image in images if _stem(image) not in stems]
    doubled = [paths for image in images if len(paths := stems.get(_stem(image), [])) > 1]
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
    return {stem: paths[0] for stem, paths in stems.items()}, errors


def _problem_of_pair(pair: LabeledImage, spec: TargetSpec, *, pages: bool) -> ImsegError | None:
    """Return what is wrong with the mask files of a pair, if anything is."""
    pixels = pair.image.pixels
    files = pair.mask if isinstance(pair.mask, Mapping) else {None: pair.mask}
    config = FolderConfig(void=_void_key(spec))
    for label, path in files.items():
        if not isinstance(path, Path):
            raise TypeError("the masks of unlabeled images come from files")
        try:
            scope = Scope(config=config, regions=False)
            facts = mask_facts(str(path), read_mask(path), scope=scope, label=label)
            size = probe(pixels, pages=pages).size if isinstance(pixels, Path) else pixels.shape[:2]
        except ImsegError as error:
            return error
        if facts.size != size:
            return ImsegError(
                f"{path} does not fit its image.",
                expected=f"the size of {pair.name}, {size_in_words(size)}.",
                got=f"{size_in_words(facts.size)}.",
                hint="export the mask at full size.",
            )
        if problem := mask_problem(facts, spec):
            return problem
    return None


def _void_key(spec: TargetSpec) -> Key | None:
    """Return void as ``imseg.toml`` would say it."""
    if spec.void is None or spec.coding != "colors":
        return spec.void
    return f"#{spec.void:06x}"


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
