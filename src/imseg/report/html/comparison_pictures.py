"""The same test images through all approaches of a comparison."""

from __future__ import annotations

from collections.abc import Mapping

from imseg.approaches.evaluation_data import check_meaning
from imseg.approaches.run import Run, load_run
from imseg.data.pictures import as_color
from imseg.engine.progress import Progress, Working
from imseg.engine.runs import RunFolder
from imseg.engine.sealed import read_json
from imseg.report.figures import draw_prediction, draw_truth
from imseg.report.html.blocks import Picture, Pictures, Section
from imseg.report.html.comparison_data import Comparison, ImageScores, Row, checked
from imseg.report.html.numbers import score
from imseg.report.html.thumbs import thumbnail
from imseg.types import DataSet, LabeledImage

SHOWN = 4
"""Test images."""
MOST_ROWS = 10
"""Approaches whose predictions are shown."""
SIDE = 180


def kept_runs(found: Comparison) -> dict[str, Run]:
    """Return the runs of the first seed that are still there, by the name of their approach."""
    rows = [row for row in found.rows if row.runs and row.same_as is None][:MOST_ROWS]
    places = {row.name: found.path / row.runs[0].path for row in rows}
    return {
        name: load_run(place) for name, place in places.items() if RunFolder(place).summary.exists()
    }


def pictures_section(
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
            columns[pair.name].append(thumbnail(drawn, alt=alt, text=told, side=SIDE))
        progress(Working(what="drawing predictions", done=number, total=len(rows)))
    caption = (
        f"{len(shown)} of the {found.images} test images, evenly spaced from those that all"
        f" approaches found easy to the hardest, with predictions of seed {rows[0].runs[0].seed}"
        f" and their {found.metric.label}."
    )
    panels = tuple((name, tuple(pictures)) for name, pictures in columns.items())
    block = Pictures(rows=panels, caption=caption, columns=5)
    return Section(key="images", title="The same images, approach by approach", blocks=(block,))


def _scores_of(found: Comparison, row: Row) -> dict[str, float]:
    """Return the score of the run's network on each image."""
    run = row.runs[0]
    path = found.path / "scores" / f"seed-{run.seed}" / f"{row.name}.json"
    content = read_json(path).get(run.network, {}) if path.exists() else {}
    scores = checked(ImageScores, content, path)
    named = zip(scores.names, scores.each.get(found.metric.key, ()), strict=False)
    return {name: value for name, value in named if value is not None}


def _chosen(found: Comparison, rows: list[Row], each: dict[str, dict[str, float]]) -> list[str]:
    """Return images evenly spaced from the easiest to the hardest for all approaches."""
    names = list(each[rows[0].name])
    sign = -1 if found.metric.higher_is_better else 1

    def hardness(name: str) -> float:
        values = [scores[name] for scores in each.values() if name in scores]
        return sign * sum(values) / len(values)

    order = sorted(names, key=hardness)
    count, last = min(SHOWN, len(order)), len(order) - 1
    return [order[round(i * last / max(1, count - 1))] for i in range(count)]


def _truth(pair: LabeledImage, run: Run) -> list[Picture]:
    """Return an image and its truth."""
    (segmented,) = run.segment([pair.image])
    plain = as_color(segmented.pixels)
    truth = draw_truth(pair, segmented.pixels, run.spec)
    return [
        thumbnail(plain, alt=f"image {pair.name}", text="image", side=SIDE),
        thumbnail(truth, alt=f"truth of {pair.name}", text="truth", side=SIDE),
    ]
