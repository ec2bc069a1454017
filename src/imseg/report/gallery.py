"""Images of a split from best to worst, so that failures are seen as well as successes."""

from __future__ import annotations

from collections.abc import Sequence

from imseg.approaches.run import Run
from imseg.engine.evaluator import Evaluation
from imseg.report.figures import panels, result_row
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
    order = sorted(range(len(found.names)), key=lambda i: -found.each["iou"][i])
    count = min(most, len(order))
    last = len(order) - 1
    shown = [order[round(i * last / max(1, count - 1))] for i in range(count)]
    images = [pairs[i].image for i in shown]
    rows = [
        result_row(pairs[i], segmented, run.task, iou=found.each["iou"][i])
        for i, segmented in zip(shown, run.segment(images, networks=networks), strict=True)
    ]
    return panels(rows, spec=run.spec)
