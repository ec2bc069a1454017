"""Small images inside the page."""

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from statistics import fmean

import numpy as np

from imseg.approaches.runs.predictions import predict_each
from imseg.approaches.runs.run import Run, check_meaning, load_run
from imseg.comparison.result import Comparison, ComparisonRow
from imseg.comparison.scoring import read_scores, scores_file
from imseg.data.images.image_files import as_color, load_pixels
from imseg.data.masks.colors import ends_of_scale
from imseg.engine.storage.run_folder import RunFolder
from imseg.progress import Progress, Working
from imseg.report import figures
from imseg.report.html.parts import ImageRows, PageImage, Prose, Section
from imseg.report.html.run_facts import RunFacts, ScoredSplit, most_inconsistent
from imseg.report.html.words import quoted
from imseg.report.tables import DataTable, count, percent, score
from imseg.tasks.multilabel import tells_apart
from imseg.types import Bytes, Color, DataSet, LabeledImage, TargetSpec

SIDE = 232
"""Pixels of the longer side of a picture in a row of four."""
QUALITY = 82
MAGENTA = np.array([255, 0, 255], dtype=np.float32)


def thumbnail(
    picture: Bytes, *, alt: str, text: str, side: int = SIDE, name: bool = False
) -> PageImage:
    """Return a picture (``h w 3``) small enough to be part of a page.

    Args:
        picture: Of any size; smaller ones stay as they are, and are shown larger pixel by pixel.
        alt: What it shows.
        text: What stands below it.
        side: Pixels of the longer side, at most.
        name: Whether the text is a file's name.
    """
    image, stream = figures.fit(picture, side, whole=True), io.BytesIO()
    image.save(stream, format="JPEG", quality=QUALITY, subsampling=0, optimize=True)
    source = f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"
    return PageImage(
        source=source, width=image.width, height=image.height, alt=alt, text=text, name=name
    )


SHOWN = 6
"""Images from best to worst."""
FOLLOWED = 4
"""Images followed through all stages, and through all approaches."""
FOLLOWED_SIDE = 180
NEXT = 12
"""Images worth labeling that are shown."""
NEXT_SIDE = 200
MOST_ROWS = 10
"""Approaches whose predictions are shown."""


def images_section(facts: RunFacts, scored: ScoredSplit | None, *, data: str) -> Section:
    """Return images from best to worst; without data, how to get them."""
    title = "Images, from best to worst"
    if scored is None:
        told = (
            "There are none here: without the data, or without images in `val/` at the end of a"
            f" training. `imseg report {quoted(facts.run.path)} {data}` shows test images."
        )
        return Section("images", title, (Prose((told,)),))
    run, metric = facts.run, facts.metric
    shown = figures.from_best_to_worst(scored.merits(facts.final.name).tolist(), SHOWN)
    images = [scored.pairs[i].image for i in shown]
    several = len(run.summary["ranking"]) > 1
    looking = run.predictor(networks=[facts.network], disagreement=several, tta=scored.tta)
    found = predict_each(looking, images, most=figures.MOST_DRAWN)
    names = ("truth", "prediction", "where networks disagree")
    rows = []
    for rank, (i, each) in enumerate(zip(shown, found, strict=True)):
        pair, told = scored.pairs[i], score(scored.found.each[metric.key][i], metric)
        (_, picture), *others = figures.result_row(pair, each, run.spec, score=told)
        row = [thumbnail(picture, alt=f"image of {pair.name}", text="image")]
        for name, (text, picture) in zip(names, others, strict=False):
            text = text.replace("inconsistent, ", "networks disagree, ")
            row.append(thumbnail(picture, alt=f"{name} of {pair.name}", text=text))
        heading = f"{_rank(rank, len(shown))}: {metric.label} {told} · {pair.name}"
        rows.append((heading, tuple(row)))
    part = "" if scored.whole else f" {len(scored.pairs)} of them were looked at."
    caption = (
        f"{count(len(shown), 'image')} of the {scored.of} {scored.words}, evenly spaced from best"
        f" to worst, so that failures are seen as well as successes.{part} Magenta: pixels on which"
        " the best networks disagree."
    )
    block = ImageRows(rows=tuple(rows), caption=caption, legend=_legend(run.spec))
    return Section("images", title, (block,))


def followed_section(facts: RunFacts, scored: ScoredSplit | None) -> Section | None:
    """Return the same images through all stages; None where there is one stage only."""
    if scored is None or len(facts.stages) < 2:
        return None
    run, metric = facts.run, facts.metric
    shown = figures.from_best_to_worst(scored.merits(facts.final.name).tolist(), FOLLOWED)
    pairs = [scored.pairs[i] for i in shown]
    columns = []
    for stage in facts.stages:
        found = scored.by_stage.get(stage.name)
        values = [None if found is None else found.each[metric.key][i] for i in shown]
        columns.append(
            _predictions(pairs, run, stage.best, of=stage.title, scores=values, tta=scored.tta)
        )
    block = ImageRows(
        rows=_rows(pairs, columns),
        caption=f"Predictions of the best network of each stage, with their {metric.label}. A"
        " mistake that appears once and stays was handed on; one that goes away was mended by the"
        " others.",
        columns=max(3, min(6, len(facts.stages))),
    )
    return Section("generations", "The same images, stage by stage", (block,))


def _rows(
    pairs: Sequence[LabeledImage], columns: Sequence[Sequence[PageImage]]
) -> tuple[tuple[str, tuple[PageImage, ...]], ...]:
    """Return rows, each with an image of each column; a column has an image for each pair."""
    return tuple(zip([pair.name for pair in pairs], zip(*columns, strict=True), strict=True))


def _predictions(
    pairs: Sequence[LabeledImage], run: Run, network: str, *, of: str,
    scores: Sequence[float | None], tta: bool | None = None, device: str = "auto",
) -> list[PageImage]:  # fmt: skip
    """Return images with the prediction of a network drawn on them.

    Args:
        pairs: The images.
        run: The run of the network.
        network: Its name.
        of: What the network is called.
        scores: What it scores on each; None where that is not known.
        tta: As in ``Run.predict``.
        device: Where to compute.
    """
    looking = run.predictor(networks=[network], tta=tta, device=device)
    found = predict_each(looking, [p.image for p in pairs], most=figures.MOST_DRAWN)
    drawn = []
    for pair, each, value in zip(pairs, found, scores, strict=True):
        picture, alt = (
            figures.draw_prediction(each, run.spec),
            f"prediction of {of} for {pair.name}",
        )
        text = of if value is None else f"{of}, {score(value, run.metric)}"
        drawn.append(thumbnail(picture, alt=alt, text=text, side=FOLLOWED_SIDE))
    return drawn


def label_next_section(
    facts: RunFacts, dataset: DataSet | None, *, quick: bool, device: str, progress: Progress
) -> Section | None:
    """Return the unlabeled images most worth labeling; None where that is not known."""
    if dataset is None or not dataset.unlabeled:
        return None
    found, of = most_inconsistent(
        facts.run, dataset, shown=NEXT, quick=quick, device=device, progress=progress
    )
    if not found:
        return None
    images = [image for image, _ in found]
    segmented = facts.run.segment(images, disagreement=True, device=device)
    shown = []
    for (image, part), each in zip(found, segmented, strict=True):
        picture, inconsistent = as_color(each.pixels), each.disagreement()[0, 0].numpy()
        tinted = (picture * 0.5 + MAGENTA * 0.5).astype(np.uint8)  # so that it is still seen there
        drawn = np.where(inconsistent[..., None], tinted, picture)
        text = f"{percent(part)} · {PurePath(image.name).name}"
        alt = f"{image.name}: networks disagree on {percent(part)} of it"
        shown.append(thumbnail(drawn, alt=alt, text=text, side=NEXT_SIDE, name=True))
    every = "all" if of == len(dataset.unlabeled) else f"{of} evenly chosen ones of"
    caption = (
        f"Of {every} {count(len(dataset.unlabeled), 'unlabeled image')}, those with the largest"
        " share of pixels on which the best networks disagree (magenta). A label teaches most where"
        " networks are unsure; look first whether the image is worth it at all."
    )
    records = [{"image": image.name, "inconsistent_share": part} for image, part in found]
    blocks = (
        ImageRows(rows=(("", tuple(shown)),), caption=caption),
        DataTable(records=records, name="label-next"),
    )
    return Section("label-next", "Images worth labeling next", blocks)


def _rank(place: int, of: int) -> str:
    if place == 0:
        return "Best"
    if place == of - 1:
        return "Worst"
    return f"Better than {1 - place / (of - 1):.0%}".replace("%", " %")


def _legend(spec: TargetSpec) -> tuple[tuple[str, Color], ...]:
    if tells_apart(spec) or ends_of_scale(spec) is not None:
        return ()
    named = tuple(zip(spec.names, spec.colors, strict=True))
    # Background is left clear where it is 0 inside.
    return named[1:] if spec.has_classes and spec.first_index == 0 else named


def kept_runs(found: Comparison) -> dict[str, Run]:
    """Return the runs of the first seed that are still there, by the name of their approach."""
    rows = [row for row in found.rows if row.same_as is None][:MOST_ROWS]
    places = {row.name: found.path / row.runs[0].path for row in rows}
    return {
        name: load_run(place) for name, place in places.items() if RunFolder(place).summary.exists()
    }


def compared_section(
    found: Comparison, runs: Mapping[str, Run], dataset: DataSet, *, device: str, progress: Progress
) -> Section | None:
    """Return test images with the predictions of all approaches; None where there are none.

    Args:
        found: The comparison.
        runs: Its runs, by the name of their approach.
        dataset: Its data.
        device: Where to compute.
        progress: Told how it goes on.

    Raises:
        ImsegError: If the masks do not mean what they meant in the runs.
    """
    rows = [row for row in found.rows if row.name in runs]
    if not dataset.test or not rows:
        return None
    first = runs[rows[0].name]
    check_meaning(dataset, first.spec, trained_in=first.path)
    by_name = {pair.name: pair for pair in dataset.test}
    scores = {row.name: _scores_of(found, row) for row in rows}
    names = list(scores[rows[0].name])  # from the easiest for all approaches to the hardest
    known = [[each[name] for each in scores.values() if name in each] for name in names]
    chosen = figures.from_best_to_worst([found.merit(fmean(values)) for values in known], FOLLOWED)
    pairs = [by_name[names[i]] for i in chosen if names[i] in by_name]
    if not pairs:
        return None
    columns = _images_and_truths(pairs, first)
    for number, row in enumerate(rows, 1):
        values = [scores[row.name].get(pair.name) for pair in pairs]
        run, network = runs[row.name], row.runs[0].network
        drawn = _predictions(pairs, run, network, of=row.name, scores=values, device=device)
        columns.append(drawn)
        progress(Working(what="drawing predictions", done=number, total=len(rows)))
    block = ImageRows(
        rows=_rows(pairs, columns),
        caption=f"{len(pairs)} of the {found.images} test images, evenly spaced from those that all"
        f" approaches found easy to the hardest, with predictions of seed {rows[0].runs[0].seed}"
        f" and their {found.metric.label}.",
        columns=5,
    )
    return Section("images", "The same images, approach by approach", (block,))


def _scores_of(found: Comparison, row: ComparisonRow) -> dict[str, float]:
    """Return the score of the run's network on each image that has one."""
    run = row.runs[0]
    scores = read_scores(scores_file(found.path, row.name, run.seed), run.network)
    if scores is None:
        return {}
    named = zip(scores.names, scores.each.get(found.metric.key, ()), strict=False)
    return {name: value for name, value in named if value == value}


def _images_and_truths(pairs: Sequence[LabeledImage], run: Run) -> list[list[PageImage]]:
    """Return two columns: images, and what people drew on them."""
    columns: dict[str, list[PageImage]] = {"image": [], "truth": []}
    for pair in pairs:
        pixels = load_pixels(pair.image, run.reading)
        pictures = (as_color(pixels), figures.draw_truth(pair, pixels, run.spec)[1])
        for (name, column), picture in zip(columns.items(), pictures, strict=True):
            alt = f"{name} of {pair.name}"
            column.append(thumbnail(picture, alt=alt, text=name, side=FOLLOWED_SIDE))
    return list(columns.values())
