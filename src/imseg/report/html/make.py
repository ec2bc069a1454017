"""Make the report of a run or a comparison: the one function that others call."""

from __future__ import annotations

from pathlib import Path

from imseg.engine.progress import Progress, log_progress
from imseg.types import DataSet


def make_report(
    folder: str | Path,
    data: str | Path | DataSet | None = None,
    *,
    out: str | Path | None = None,
    test: bool = True,
    quick: bool = False,
    device: str = "auto",
    progress: Progress = log_progress,
) -> Path:
    """Write the report of a finished run, or of a comparison, and return the page.

    Figures (SVG, PNG) and numbers (CSV) go into a folder beside the page that is called like it.

    Args:
        folder: A run, or the folder of a comparison (with ``comparison.json``).
        data: The data, for pictures and scores of images; None: what the folder alone knows.
        out: The page; ``report.html`` in the folder by default.
        test: Evaluate the test images of the data, if there are any; else validation images.
        quick: Look at few images, so that it takes a few seconds however large they are.
        device: Where networks are computed.
        progress: Told how it goes on.

    Raises:
        ImsegError: If there is no finished run or comparison, or the data does not fit it.
    """
    raise NotImplementedError
