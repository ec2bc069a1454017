"""Small images inside the page."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from statistics import fmean

import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow

from imseg.approaches.runs.run import Run, check_meaning, load_run
from imseg.comparison.result import Comparison, ComparisonRow
from imseg.comparison.scoring import read_scores, scores_file
from imseg.data.images.image_files import as_color
from imseg.data.masks.colors import ends_of_scale
from imseg.engine.storage.run_folder import RunFolder
from imseg.progress import Progress, Working
from imseg.report.figures import draw_prediction, draw_truth, from_best_to_worst, result_row
from imseg.report.html.parts import ImageRows, PageImage, Prose, Section
from imseg.report.html.run_facts import RunFacts, ScoredSplit, most_inconsistent
from imseg.report.html.words import quoted
from imseg.report.tables import DataTable, count, percent, score
from imseg.tasks.instances import tells_apart
from imseg.types import Bytes, Color, DataSet, LabeledImage, TargetSpec

SIDE = 232
"""Pixels of the longer side of a picture in a row of four."""
QUALITY = 82
MAGENTA = np.array([255, 0, 255], dtype=np.float32)


def tinted(picture: Bytes, where: npt.NDArray[np.bool_]) -> Bytes:
    """Return a picture (``h w 3``) in magenta in some places, so that it is still seen there."""
    mixed = (picture * 0.5 + MAGENTA * 0.5).astype(np.uint8)
    return np.where(where[..., None], mixed, picture)


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
    image = Pillow.fromarray(np.ascontiguousarray(picture))
    scale = side / max(image.size)
    if scale < 1:
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        image = image.resize(size, Pillow.Resampling.BOX)
    else:  # whole multiples, so that every pixel stays a square
        times = max(1, side // max(image.size))
        size = (image.width * times, image.height * times)
        image = image.resize(size, Pillow.Resampling.NEAREST)
    stream = io.BytesIO()
    image.save(stream, format="JPEG", quality=QUALITY, subsampling=0, optimize=True)
    content = base64.b64encode(stream.getvalue()).decode()
    return PageImage(
        source=f"data:image/jpeg;base64,{content}",
        width=image.width,
        height=image.height,
        alt=alt,
        text=text,
        name=name,
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
    shown = from_best_to_worst(scored.merits(scored.final), SHOWN)
    images = [scored.pairs[i].image for i in shown]
    segmented = run.segment(images, networks=[facts.network], disagreement=True)
    names = ["image", "truth", "prediction", "where networks disagree"]
    names = names if len(run.summary["ranking"]) > 1 else names[:3]
    rows = []
    for rank, (i, each) in enumerate(zip(shown, segmented, strict=True)):
        pair, told = scored.pairs[i], score(scored.found.each[metric.key][i], metric)
        drawn = zip(names, result_row(pair, each, run.task, score=told), strict=False)
        row = tuple(
            thumbnail(picture, alt=f"{name} of {pair.name}", text=_text(text, name))
            for name, (text, picture) in drawn
        )
        rows.append((f"{_rank(rank, len(shown))}: {metric.label} {told} · {pair.name}", row))
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
    shown = from_best_to_worst(scored.merits(scored.final), FOLLOWED)
    pairs = [scored.pairs[i] for i in shown]
    rows: list[list[PageImage]] = [[] for _ in shown]
    for stage in facts.stages:
        texts = [stage.title] * len(shown)
        if stage.name in scored.by_stage:
            values = scored.by_stage[stage.name].each[metric.key]
            texts = [f"{stage.title}, {score(values[i], metric)}" for i in shown]
        found = _predictions(pairs, run, stage.best, texts=texts, of=stage.title)
        for row, image in zip(rows, found, strict=True):
            row.append(image)
    block = ImageRows(
        rows=tuple((pair.name, tuple(row)) for pair, row in zip(pairs, rows, strict=True)),
        caption=f"Predictions of the best network of each stage, with their {metric.label}. A"
        " mistake that appears once and stays was taught on; one that goes away was mended by the"
        " others.",
        columns=max(3, min(6, len(facts.stages))),
    )
    return Section("generations", "The same images, stage by stage", (block,))


def _predictions(
    pairs: Sequence[LabeledImage],
    run: Run,
    network: str,
    *,
    texts: Sequence[str],
    of: str,
    device: str = "auto",
) -> list[PageImage]:
    """Return images with the prediction of a network drawn on them.

    Args:
        pairs: The images.
        run: The run of the network.
        network: Its name.
        texts: What stands below each.
        of: What the network is called.
        device: Where to compute.
    """
    found = run.segment([pair.image for pair in pairs], networks=[network], device=device)
    return [
        thumbnail(
            draw_prediction(each, run.task)[0], alt=f"prediction of {of} for {pair.name}",
            text=text, side=FOLLOWED_SIDE,
        )
        for pair, each, text in zip(pairs, found, texts, strict=True)
    ]  # fmt: skip


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
        drawn = tinted(as_color(each.pixels), each.disagreement()[0, 0].numpy())
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


def _text(text: str, name: str) -> str:
    if name in ("image", "truth"):
        return name
    return text.replace("inconsistent, ", "networks disagree, ")


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
    chosen = from_best_to_worst([found.merit(fmean(values)) for values in known], FOLLOWED)
    pairs = [by_name[names[i]] for i in chosen if names[i] in by_name]
    if not pairs:
        return None
    shown = [_truth(pair, first) for pair in pairs]
    for number, row in enumerate(rows, 1):
        values = [scores[row.name].get(pair.name) for pair in pairs]
        texts = [row.name if v is None else f"{row.name}, {score(v, found.metric)}" for v in values]
        run, network = runs[row.name], row.runs[0].network
        drawn = _predictions(pairs, run, network, texts=texts, of=row.name, device=device)
        for images, image in zip(shown, drawn, strict=True):
            images.append(image)
        progress(Working(what="drawing predictions", done=number, total=len(rows)))
    block = ImageRows(
        rows=tuple((pair.name, tuple(each)) for pair, each in zip(pairs, shown, strict=True)),
        caption=f"{len(shown)} of the {found.images} test images, evenly spaced from those that all"
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


def _truth(pair: LabeledImage, run: Run) -> list[PageImage]:
    """Return an image and its truth."""
    (segmented,) = run.segment([pair.image])
    drawn = {
        "image": as_color(segmented.pixels),
        "truth": draw_truth(pair, segmented.pixels, run.spec),
    }
    return [
        thumbnail(picture, alt=f"{name} of {pair.name}", text=name, side=FOLLOWED_SIDE)
        for name, picture in drawn.items()
    ]
