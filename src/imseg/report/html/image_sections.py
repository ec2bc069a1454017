"""Small pictures inside the page."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import PurePath

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
from imseg.report.figures import draw_prediction, draw_truth, result_row
from imseg.report.html.blocks import Csv, Picture, Pictures, Prose, Section
from imseg.report.html.numbers import count, percent, score
from imseg.report.html.run_facts import Looked, RunFacts, most_disputed
from imseg.report.html.words import quoted
from imseg.tasks.instances import tells_apart
from imseg.types import Bytes, Color, DataSet, Image, LabeledImage, TargetSpec

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
) -> Picture:
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
    return Picture(
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
"""Images followed through all stages."""
NEXT = 12
"""Images worth labeling that are shown."""
NEXT_SIDE = 200


def pictures_section(facts: RunFacts, looked: Looked | None, *, data: str) -> Section:
    """Return images from best to worst; without data, how to get them."""
    title = "Images, from best to worst"
    if looked is None:
        folder = quoted(facts.run.path)
        told = (
            "There are none here: without the data, or without images in `val/` at the end of a"
            f" training. `imseg report {folder} {data}` shows test images."
        )
        return Section(key="images", title=title, blocks=(Prose((told,)),))
    run, metric = facts.run, facts.metric
    shown = _spread(looked, SHOWN)
    values = looked.found.each[metric.key]
    images = [looked.pairs[i].image for i in shown]
    segmented = run.segment(images, networks=[facts.network], disagreement=True)
    rows = []
    for rank, (i, each) in enumerate(zip(shown, segmented, strict=True)):
        pair = looked.pairs[i]
        told = score(values[i], metric)
        panels = result_row(pair, each, run.task, score=told)
        inconsistent = len(run.summary["ranking"]) > 1
        names = ("image", "truth", "prediction", "where networks disagree")
        pictures = tuple(
            thumbnail(panel, alt=f"{name} of {pair.name}", text=_text(text, name))
            for name, (text, panel) in zip(names, panels, strict=True)
            if inconsistent or name != names[3]
        )
        rows.append((f"{_rank(rank, len(shown))}: {metric.label} {told} · {pair.name}", pictures))
    part = "" if looked.whole else f" {len(looked.pairs)} of them were looked at."
    caption = (
        f"{count(len(shown), 'image')} of the {looked.of} {looked.words}, evenly spaced from best"
        f" to worst, so that failures are seen as well as successes.{part} Magenta: pixels on which"
        " the best networks disagree."
    )
    block = Pictures(rows=tuple(rows), caption=caption, legend=_legend(run.spec))
    return Section(key="images", title=title, blocks=(block,))


def followed_section(facts: RunFacts, looked: Looked | None) -> Section | None:
    """Return the same images through all stages; None where there is one stage only."""
    if looked is None or len(facts.stages) < 2:
        return None
    run, metric = facts.run, facts.metric
    shown = _spread(looked, FOLLOWED)
    images = [looked.pairs[i].image for i in shown]
    columns: dict[int, list[Picture]] = {i: [] for i in shown}
    for stage in facts.stages:
        found = looked.by_stage.get(stage.name)
        for i, each in zip(shown, run.segment(images, networks=[stage.best]), strict=True):
            name = looked.pairs[i].name
            drawn, _ = draw_prediction(each, run.task)
            text = stage.title
            if found is not None:
                text += f", {score(found.each[metric.key][i], metric)}"
            alt = f"prediction of {stage.title} for {name}"
            columns[i].append(thumbnail(drawn, alt=alt, text=text, side=180))
    rows = tuple((looked.pairs[i].name, tuple(columns[i])) for i in shown)
    caption = (
        f"Predictions of the best network of each stage, with their {metric.label}. A mistake that"
        " appears once and stays was taught on; one that goes away was mended by the others."
    )
    across = max(3, min(6, len(facts.stages)))
    block = Pictures(rows=rows, caption=caption, columns=across)
    return Section(key="generations", title="The same images, stage by stage", blocks=(block,))


def next_images_section(
    facts: RunFacts, dataset: DataSet | None, *, quick: bool, device: str, progress: Progress
) -> Section | None:
    """Return the unlabeled images most worth labeling; None where nobody can say."""
    if dataset is None or not dataset.unlabeled:
        return None
    found, of = most_disputed(
        facts.run, dataset, shown=NEXT, quick=quick, device=device, progress=progress
    )
    if not found:
        return None
    images: list[Image] = [each.image for each in found]
    pictures = []
    segmented_images = facts.run.segment(images, disagreement=True, device=device)
    for each, segmented in zip(found, segmented_images, strict=True):
        pixels = segmented.pixels
        disputed = segmented.disagreement()[0, 0].numpy()
        drawn = tinted(as_color(pixels), disputed)
        text = f"{percent(each.share)} · {PurePath(each.image.name).name}"
        alt = f"{each.image.name}: networks disagree on {percent(each.share)} of it"
        pictures.append(thumbnail(drawn, alt=alt, text=text, side=NEXT_SIDE, name=True))
    every = "all" if of == len(dataset.unlabeled) else f"{of} evenly chosen ones of"
    caption = (
        f"Of {every} {count(len(dataset.unlabeled), 'unlabeled image')}, those with the largest"
        " share of pixels on which the best networks disagree (magenta). A label teaches most where"
        " networks are unsure; look first whether the image is worth it at all."
    )
    rows = [(each.image.name, each.share) for each in found]
    return Section(
        key="label-next",
        title="Images worth labeling next",
        blocks=(Pictures(rows=(("", tuple(pictures)),), caption=caption),),
        tables=(Csv(name="label-next", header=("image", "inconsistent_share"), rows=rows),),
    )


def _spread(looked: Looked, most: int) -> list[int]:
    """Return images evenly spaced from best to worst."""
    values = looked.found.each[looked.metric.key]
    known = [i for i, value in enumerate(values) if value == value]
    order = sorted(known, key=lambda i: -looked.metric.merit({looked.metric.key: values[i]}))
    count_, last = min(most, len(order)), len(order) - 1
    places: Sequence[int] = [round(i * last / max(1, count_ - 1)) for i in range(count_)]
    return [order[place] for place in places]


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


COMPARISON_SHOWN = 4
"""Test images."""
MOST_ROWS = 10
"""Approaches whose predictions are shown."""
COMPARISON_SIDE = 180


def kept_runs(found: Comparison) -> dict[str, Run]:
    """Return the runs of the first seed that are still there, by the name of their approach."""
    rows = [row for row in found.rows if row.runs and row.same_as is None][:MOST_ROWS]
    places = {row.name: found.path / row.runs[0].path for row in rows}
    return {
        name: load_run(place) for name, place in places.items() if RunFolder(place).summary.exists()
    }


def comparison_pictures_section(
    found: Comparison,
    runs: Mapping[str, Run],
    dataset: DataSet,
    *,
    device: str,
    progress: Progress,
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
    pairs = {pair.name: pair for pair in dataset.test}
    each = {row.name: _scores_of(found, row) for row in rows}
    shown = [pairs[name] for name in _chosen(found, rows, each) if name in pairs]
    if not shown:
        return None
    columns = {pair.name: _truth(pair, first) for pair in shown}
    for number, row in enumerate(rows, 1):
        run, network = runs[row.name], row.runs[0].network
        images = [pair.image for pair in shown]
        for pair, segmented in zip(
            shown, run.segment(images, networks=[network], device=device), strict=True
        ):
            drawn, _ = draw_prediction(segmented, run.task)
            value = each[row.name].get(pair.name)
            told = row.name if value is None else f"{row.name}, {score(value, found.metric)}"
            alt = f"prediction of {row.name} for {pair.name}"
            columns[pair.name].append(thumbnail(drawn, alt=alt, text=told, side=COMPARISON_SIDE))
        progress(Working(what="drawing predictions", done=number, total=len(rows)))
    caption = (
        f"{len(shown)} of the {found.images} test images, evenly spaced from those that all"
        f" approaches found easy to the hardest, with predictions of seed {rows[0].runs[0].seed}"
        f" and their {found.metric.label}."
    )
    panels = tuple((name, tuple(pictures)) for name, pictures in columns.items())
    block = Pictures(rows=panels, caption=caption, columns=5)
    return Section(key="images", title="The same images, approach by approach", blocks=(block,))


def _scores_of(found: Comparison, row: ComparisonRow) -> dict[str, float]:
    """Return the score of the run's network on each image that has one."""
    run = row.runs[0]
    scores = read_scores(scores_file(found.path, row.name, run.seed), run.network)
    if scores is None:
        return {}
    named = zip(scores.names, scores.each.get(found.metric.key, ()), strict=False)
    return {name: value for name, value in named if value == value}


def _chosen(
    found: Comparison, rows: list[ComparisonRow], each: dict[str, dict[str, float]]
) -> list[str]:
    """Return images evenly spaced from the easiest to the hardest for all approaches."""
    names = list(each[rows[0].name])
    sign = -1 if found.metric.higher_is_better else 1

    def hardness(name: str) -> float:
        values = [scores[name] for scores in each.values() if name in scores]
        return sign * sum(values) / len(values)

    order = sorted(names, key=hardness)
    count, last = min(COMPARISON_SHOWN, len(order)), len(order) - 1
    return [order[round(i * last / max(1, count - 1))] for i in range(count)]


def _truth(pair: LabeledImage, run: Run) -> list[Picture]:
    """Return an image and its truth."""
    (segmented,) = run.segment([pair.image])
    plain = as_color(segmented.pixels)
    truth = draw_truth(pair, segmented.pixels, run.spec)
    return [
        thumbnail(plain, alt=f"image {pair.name}", text="image", side=COMPARISON_SIDE),
        thumbnail(truth, alt=f"truth of {pair.name}", text="truth", side=COMPARISON_SIDE),
    ]
