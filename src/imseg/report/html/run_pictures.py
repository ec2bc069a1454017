"""Sections of a run's page that show images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath

from imseg.data.paint import ends_of_scale
from imseg.data.pictures import as_color
from imseg.engine.progress import Progress
from imseg.report.figures import draw_prediction, result_row
from imseg.report.html.blocks import Csv, Picture, Pictures, Prose, Section
from imseg.report.html.facts import RunFacts
from imseg.report.html.looks import Looked, most_disputed
from imseg.report.html.numbers import count, percent, score
from imseg.report.html.thumbs import thumbnail, tinted
from imseg.report.html.words import quoted
from imseg.tasks.objects import tells_apart
from imseg.types import Color, DataSet, Image, TargetSpec

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
    segmented = run.segment([looked.pairs[i].image for i in shown], networks=[facts.network])
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
    for each, segmented in zip(found, facts.run.segment(images, device=device), strict=True):
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
