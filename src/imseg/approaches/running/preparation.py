"""What an experiment is given: read, checked against what is asked for, and counted."""

import contextlib
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from imseg.approaches.methods.catalog import find_approach
from imseg.approaches.methods.paper import PAPER
from imseg.approaches.planning import budget, duration
from imseg.approaches.planning.decoding_time import decoding_seconds
from imseg.approaches.planning.minutes import fit_to_minutes, time_left
from imseg.approaches.planning.plan import Facts, Plan
from imseg.approaches.planning.settings import Settings, settings_from
from imseg.approaches.running import default_approach, matching, run_data, stage
from imseg.approaches.runs import orientations, run_files
from imseg.approaches.runs.record import check_same, read_record, tell_data_changes
from imseg.approaches.runs.run import Run, load_run
from imseg.components.amplification import LEAST_LABELED, LEAST_VALIDATION, enough_for_scorers
from imseg.data.checks.folder_check import report_of
from imseg.data.files.listing import Links, real_path, short_name
from imseg.data.folder import scan
from imseg.data.folder.inspection import KnownFiles
from imseg.data.images import pixel_size
from imseg.data.masks.io import describe_values
from imseg.engine.hardware.device import available_memory
from imseg.engine.storage.run_folder import RunFolder
from imseg.errors import ImsegError, import_extra, raise_all, shown
from imseg.networks.registry import NetworkFactory, provide
from imseg.networks.weights import check_network
from imseg.progress import Note, Progress
from imseg.tasks import check_pool, task_for
from imseg.tasks.mask_loss import FITTING, check_loss
from imseg.tasks.quality import quality_for
from imseg.types import DataSet, LabeledImage


def read_data(
    folder: Path,
    asked: Settings,
    progress: Progress,
    files: KnownFiles | None = None,
    *,
    planned: Plan | None = None,
) -> DataSet:
    """Return the data set in a folder, and tell every warning about it.

    Args:
        folder: The data folder.
        asked: The settings, which may name the task.
        progress: Told how far the look at the files is, and the warnings.
        files: What is known already of files that have not changed; None: all are decoded.
        planned: Where the working size is settled already; None: it depends on the images.

    Raises:
        ImsegError: If anything is wrong with the folder; everything at once.
    """
    checking = run_data.counting(progress, "checking images")
    links_are: Links = "follow" if asked.follow_links else "refuse"
    found = scan.scan(folder, task=asked.task, links_are=links_are, progress=checking, files=files)
    if sizes := [facts.size for facts in found.survey.labeled]:
        height, width = np.median(np.array(sizes), axis=0).astype(int).tolist()
        seen = planned.seen_size if planned else budget.seen_in(found, asked, (height, width))
        found = replace(found, working_size=seen)
    report = report_of(found)
    raise_all(finding.as_error() for finding in report.errors)
    dataset = scan.data_set_of(found)
    for warning in report.warnings:
        progress(Note(text=str(warning.as_error()), warning=True))
    for note in found.layout.findings:
        if note.severity == "note":
            progress(Note(text=str(note.as_error())))
    return dataset


def check_paths(paths: Iterable[object]) -> None:
    """Check that names can be written down, in the settings of a run and for its workers.

    Args:
        paths: Folders and files; whatever is neither a path nor a name is passed over.

    Raises:
        ImsegError: If one has bytes that are no text.
    """
    for path in paths:
        if not isinstance(path, str | Path):
            continue
        place = str(real_path(Path(path)))
        try:
            place.encode()
        except UnicodeEncodeError as error:
            raise ImsegError(
                f"The path {path} has bytes that are no text.",
                expected="names of folders in UTF-8.",
                got=f"{shown(place)}.",
                hint="rename the folder, or work in another one.",
            ) from error


def check_fits(dataset: DataSet, asked: Settings, matched: Run | None) -> None:
    """Check that the data has what the approach needs, and the machine what the data needs."""
    if dataset.spec.position is not None:
        for module in ("cv2", "skimage"):
            import_extra(module, extra="cells", purpose="for cell centers and objects")
    approach = find_approach(asked.approach)
    if approach.needs_unlabeled and not dataset.unlabeled:
        raise ImsegError(
            f"{approach.name} learns from unlabeled images, and {dataset.name} has none.",
            expected="images in unlabeled/ (no masks needed).",
            got="no unlabeled images.",
            hint=f"copy images into {shown(dataset.name)}/unlabeled/, or --approach ldt.",
        )
    if asked.select == "same-classes" and not dataset.spec.has_classes:
        raise ImsegError(
            f"--select same-classes says nothing about {dataset.spec.in_words}.",
            expected="it with masks of classes only.",
            hint="--select paper or all.",
        )
    if approach.has_thresholds:
        check_scored(approach.name, dataset)
    composition = asked.composition
    for each in (composition.first, composition):
        each.objective.check(task_for(dataset.spec), each.network)
    if asked.vote is not None:
        check_pool(dataset.spec, asked.vote)
    if asked.loss is not None or asked.class_balance:
        loss = asked.loss or asked.composition.recipe.loss
        if asked.loss is None and loss not in FITTING[dataset.spec.kind]:
            loss = FITTING[dataset.spec.kind][-1]
        check_loss(dataset.spec, loss, balanced=bool(asked.class_balance))
    if asked.grow_labels and not task_for(dataset.spec).grows_labels:
        raise ImsegError(
            f"--grow-labels changes nothing about {dataset.spec.in_words}.",
            expected="it with masks of several classes or labels, as in the paper.",
            hint="leave it out.",
        )
    blocks = asked.blocking in ("both", "output")
    if asked.ignore and blocks and not task_for(dataset.spec).zero_is_nothing:
        raise ImsegError(
            f"--ignore changes nothing about {dataset.spec.in_words}.",
            expected="inconsistent pixels have no weight there, because 0 is a number like any.",
            hint="leave it out, or --blocking input --ignore.",
        )
    if matched is not None and not (
        matched.spec.is_like(dataset.spec) and matched.spec.values == dataset.spec.values
    ):
        raise ImsegError(
            f"{matched.path} was trained on other classes than {dataset.name} has.",
            expected=describe_values(matched.spec),
            got=describe_values(dataset.spec),
            hint="--match with a run on the same data.",
        )


def check_scored(name: str, dataset: DataSet) -> None:
    """Check that masks have a quality that an approach can go by.

    Raises:
        ImsegError: If they hold numbers, of which there is no IoU.
    """
    try:
        quality_for(task_for(dataset.spec))
    except ImsegError as error:
        raise ImsegError(
            f"{name} does not fit {dataset.spec.in_words}.",
            expected="masks of classes or labels: it goes by their IoU, and numbers have none.",
            got=f"{dataset.spec.in_words} in {shown(dataset.name)}.",
            hint="--approach im+ or aim+, which augment every image equally often.",
        ) from error


def check_facts(asked: Settings, facts: Facts, dataset: DataSet) -> None:
    """Check that what was counted is what the approach and the paper's settings need.

    Raises:
        ImsegError: If the paper's settings are for other masks, or if mask scorers choose
            pseudo-labels and cannot be trained.
    """
    if asked.paper is not None and PAPER[asked.paper].kind != facts.task:
        raise ImsegError(
            f"--paper {asked.paper} is for {PAPER[asked.paper].kind} masks.",
            expected=f"masks of that kind, as `imseg prepare {asked.paper}` makes them.",
            got=f"{dataset.spec.in_words} in {shown(dataset.name)}.",
            hint="--effort paper keeps the schedule and takes sizes and strengths from your data.",
        )
    approach = find_approach(asked.approach)
    if approach.carry and not enough_for_scorers(facts.labeled, facts.validation):
        short = facts.labeled >= LEAST_LABELED
        raise ImsegError(
            f"{approach.name} has too few labels to learn what a good mask looks like.",
            expected=f"at least {LEAST_LABELED} labeled images to learn from and"
            f" {LEAST_VALIDATION} validation images.",
            got=f"{facts.labeled} and {facts.validation}.",
            hint=f"{'put more images into val/' if short else 'label more images'}, or --approach"
            " im+, which needs no mask scorers.",
        )


def facts_of(dataset: DataSet) -> Facts:
    """Return what a plan needs to know about a data set."""
    labeled = len(dataset.labeled)
    others = (*dataset.unlabeled, *(pair.image for pair in dataset.val))
    return Facts(
        task=dataset.spec.kind,
        labeled=labeled if dataset.val else labeled - scan.held_out(labeled),
        validation=len(dataset.val) or scan.held_out(labeled),
        unlabeled=len(dataset.unlabeled),
        channels=dataset.reading.channels,
        outputs=dataset.spec.outputs,
        typical_size=scan.typical_size(dataset.labeled, pages=dataset.reading.pages),
        largest_size=scan.largest_size(dataset.labeled, pages=dataset.reading.pages),
        modality=dataset.modality,
        narrow=dataset.narrow,
        pixel_sizes=pixel_size.summarize_pixel_sizes(
            [pair.image.pixel_size for pair in dataset.labeled],
            (image.pixel_size for image in others),
        ),
    )


ALONE = (
    "changes nothing here: networks of your own, and networks on this device, are trained one after"
    " the other."
)
COMPILING = "finding out whether compiling pays for itself, a minute at most ..."
"""Said before some more."""
COMPILING_FROM = 20
"""Minutes of a run below which finding that out takes too large a part of them."""
MEASURING = "measuring what a few steps cost on this machine ..."
"""Said before some seconds in which nothing else is."""


MOST_KEPT = 4 << 30
"""Bytes of decoded images that are kept for the store, and at most a quarter of the free memory."""


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A training that could begin now."""

    asked: Settings
    """What was asked for."""
    folder: RunFolder
    """Where it goes."""
    record: run_files.Record | None
    """What an earlier call of the same command wrote down; None if the run is new."""
    dataset: DataSet
    """What there is to learn from."""
    hidden_pairs: tuple[LabeledImage, ...] | None
    """Unlabeled images with their hidden masks, if those are named."""
    facts: Facts
    """The same, counted."""
    plan: Plan
    """What will be done."""
    measured: duration.Measured | None
    """What was measured to fit the plan to a budget of time; None: nothing."""
    files: KnownFiles | None
    """What is known of the files of the data; None: it is not a folder."""

    def hidden_contents(self) -> dict[str, str]:
        """Return a hash of the hidden mask of each unlabeled image, if they are known."""
        if self.hidden_pairs is None or self.files is None:
            return {}
        return {pair.name: self.files.content_of(pair.mask) for pair in self.hidden_pairs}


def prepare(
    data: str | Path | DataSet,
    asked: Settings,
    *,
    out: str | Path | None,
    progress: Progress,
    probe: bool = True,
    stores: bool = False,
) -> Prepared:
    """Return a training that could begin now; nothing is written.

    Args:
        data: A folder, or a data set made otherwise.
        asked: What to do.
        out: The run folder; None for the default.
        progress: Told what is found.
        probe: Whether costs are measured where the plan depends on them.
        stores: Whether what the checks decode will be stored next, and so is kept in memory.

    Raises:
        ImsegError: For everything the user can mend, as far as it shows before images are decoded.
    """
    since = time.monotonic()
    matched = load_run(asked.match) if asked.match is not None else None
    folder = RunFolder(Path(out if out is not None else default_out(data, asked)))
    check_paths([data, folder.path, asked.match, asked.unlabeled_masks, asked.reuse])
    folder.check_place()
    record = read_record(folder)
    if record is not None:
        check_same(folder, record, asked)
    files = None
    if isinstance(data, DataSet):
        dataset = data
    else:
        planned = record.plan if record is not None else matched.plan if matched else None
        files = _known_files(folder, asked, planned, stores=stores)
        dataset = read_data(Path(data), asked, progress, files, planned=planned)
    chosen = default_approach.with_approach(asked, dataset, record, progress)
    check_fits(dataset, chosen, matched)
    named = asked.unlabeled_masks
    hidden = scan.hidden_masks(dataset, named, files=files) if named is not None else None
    if record is None and asked.reuse is not None:
        tell_data_changes(asked.reuse, dataset, progress)
    facts = facts_of(dataset)
    narrow = budget.narrow_as_asked(asked, facts.typical_size, facts.narrow)
    facts = replace(facts, narrow=narrow)
    check_facts(chosen, facts, dataset)
    measured = None
    if record is not None:
        plan = record.plan
    else:
        plan, measured = _new_plan(
            chosen, facts, dataset, matched=matched, since=since, progress=progress, probe=probe
        )
    pairs = (*dataset.labeled, *dataset.val)
    orientations.check_pixel_sizes(plan, (*(pair.image for pair in pairs), *dataset.unlabeled))
    approach = plan.approach
    stages = [each for each in (approach, approach.start, approach.scorer_start) if each]
    for one in dict.fromkeys(each.network for each in stages):
        for size in dict.fromkeys((plan.image_size, plan.row_size)):
            check_network(one, channels=facts.channels, outputs=facts.outputs, size=size)
    return Prepared(
        asked=asked,
        folder=folder,
        record=record,
        dataset=dataset,
        hidden_pairs=hidden,
        facts=facts,
        plan=plan,
        measured=measured,
        files=files,
    )


def _known_files(
    folder: RunFolder, asked: Settings, planned: Plan | None, *, stores: bool
) -> KnownFiles:
    """Return what this run, and those whose networks are taken over, found out about files.

    Args:
        folder: The run.
        asked: What was asked for.
        planned: Where the working size is settled already; None: it depends on the images.
        stores: Whether decoded pixels are kept.
    """

    def size(typical: tuple[int, int]) -> tuple[int, int]:
        return planned.image_size if planned is not None else budget.working_size(asked, typical)

    # Tiles are cut from pictures that are decoded when they are stored.
    whole = asked.scale is None and asked.patch is None
    whole = whole and (asked.minutes is None or asked.image_size is not None)
    if planned is not None:
        whole = planned.tiles is None
    room = min(MOST_KEPT, (available_memory() or 0) // 4)
    files = KnownFiles(working_size=size if stores and whole else None, room=room)
    others = [] if asked.reuse is None else [asked.reuse, *sorted(asked.reuse.glob("*/"))]
    for path in (folder.path, *others):
        with contextlib.suppress(ImsegError):  # what is not known is found out again
            files.learn(run_files.FileFacts.read(RunFolder(path).facts).files)
    return files


def default_out(data: str | Path | DataSet, asked: Settings) -> Path:
    """Return where a run goes if nothing else is said."""
    name = "arrays" if isinstance(data, DataSet) else short_name(Path(data))
    # By minutes the plan chooses whether unlabeled images are used.
    free = asked.minutes is not None and "approach" not in asked.given
    what = f"{asked.minutes:g}-minutes" if free else asked.approach
    return Path("runs") / f"{name}-{what}-seed{asked.seed}"


def asked_for(
    settings: Settings | None, options: dict[str, Any], network: NetworkFactory | str | None
) -> Settings:
    """Return checked settings.

    Args:
        settings: What to do; None where it is given as options.
        options: The same as fields of ``Settings``.
        network: The user's own network, or the name of one.

    Raises:
        ImsegError: If both are given, or a value is no good.
    """
    if settings is not None and options:
        raise ImsegError(
            "Settings are given twice.",
            expected="settings=... or single fields, not both.",
            got=", ".join(options),
        )
    if network is not None:
        name = network if isinstance(network, str) else provide(network).callable
        given = settings.given if settings else options
        return settings_from({**given, "network": name}).with_length
    return (settings or settings_from(options)).with_length


def _new_plan(
    asked: Settings,
    facts: Facts,
    dataset: DataSet,
    *,
    matched: Run | None,
    since: float,
    progress: Progress,
    probe: bool,
) -> tuple[Plan, duration.Measured | None]:
    like = asked
    if matched is not None and asked.augment is None:
        like = asked.but(augment=matched.plan.recipe.augmentation.level)
    measured = None
    if budget.fits_time(asked) and probe:
        progress(Note(text=MEASURING))
    if asked.minutes is not None:
        reading: dict[str, float] = {}

        def left(plan: Plan) -> float:
            name = plan.approach.name
            if name not in reading:
                reading[name] = decoding_seconds(dataset, plan)
            return time_left(asked, since) - reading[name]

        def measure(plan: Plan) -> duration.Measured:
            return duration.measure(plan, facts, dataset.spec)

        plan, measured = fit_to_minutes(asked, facts, left=left, measure=measure if probe else None)
        if "approach" not in asked.given and plan.approach.name == "ldt":
            text = f"in {asked.minutes:g} minutes more is won by longer training and larger images"
            text += " than from unlabeled images. --approach auto tries them all the same."
            progress(Note(text=text))
    else:
        plan = budget.make_plan(like, facts)
        if budget.fits_time(asked):
            measured = duration.measure(plan, facts, dataset.spec) if probe else None
            plan = duration.fit_to_time(plan, facts, measured)
    if matched is not None:
        plan = matching.matched_plan(plan, matched, facts, asked, progress=progress)
    if (
        asked.compile == "auto"
        and probe
        and matched is None
        and (asked.minutes is None or asked.minutes >= COMPILING_FROM)
        and duration.compiling_may_pay(plan, facts)
    ):
        progress(Note(text=COMPILING))
        compute = replace(plan.compute, compile=duration.compiling_pays(plan, facts, dataset.spec))
        plan = replace(plan, compute=compute)
    if asked.workers is not None and asked.workers > plan.workers:
        progress(Note(text=f"--workers {asked.workers} {ALONE}", warning=True))
    words = dataset.spec.in_words
    progress(Note(text=f"{words}: {describe_values(dataset.spec).rstrip('.')}"))
    seconds = None if measured is None else duration.seconds_of(plan, facts, measured)
    progress(Note(text=stage.announce_plan(plan, facts, seconds)))
    return plan, measured
