"""Images of a split from best to worst, so that failures are seen as well as successes."""

from __future__ import annotations

from collections.abc import Sequence

from imseg.approaches.run import Run
from imseg.engine.evaluator import Evaluation
from imseg.report.figures import result_row
from imseg.report.panels import panels
from imseg.tasks.objects import tells_apart
from imseg.types import Bytes, LabeledImage

SHOWN = 6
"""Images in a gallery."""


def gallery(
    run: Run,
    pairs: Sequence[LabeledImage],
    found: Evaluation,
    *,
    networks: Sequence[str] | None = None,
    most: int = SHOWN,
) -> Bytes:
    """Return image, truth, prediction and inconsistency of images evenly spaced from best to worst.

    Args:
        run: The run that was evaluated.
        pairs: The images it was evaluated on.
        found: Its scores on them.
        networks: Which of its networks; None: the chosen one.
        most: Images shown.
    """
    metric = run.metric
    scores = [{metric.key: value} for value in found.each[metric.key]]
    order = sorted(range(len(scores)), key=lambda i: -metric.merit(scores[i]))
    count = min(most, len(order))
    last = len(order) - 1
    shown = [order[round(i * last / max(1, count - 1))] for i in range(count)]
    images = [pairs[i].image for i in shown]
    rows = [
        result_row(pairs[i], segmented, run.task, score=metric.text(scores[i]))
        for i, segmented in zip(shown, run.segment(images, networks=networks), strict=True)
    ]
    return panels(rows, spec=None if tells_apart(run.spec) else run.spec)
