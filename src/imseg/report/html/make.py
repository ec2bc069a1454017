"""Make the report of a run or a comparison: the one function that others call."""

from pathlib import Path

from imseg.approaches.runs.run import Run, load_run
from imseg.comparison.result import read_comparison
from imseg.data.folder.folder_layout import find_layout
from imseg.data.folder.scan import read_folder
from imseg.data.masks.recognize import word_of
from imseg.engine.storage.run_folder import RESULT_FILE, SETTINGS_FILE, RunFolder
from imseg.errors import ImsegError, shown
from imseg.networks.registry import NetworkFactory
from imseg.progress import Note, Progress, Working, log_progress
from imseg.report.html.run_facts import RunFacts
from imseg.types import DataSet

PAGE = "report.html"


def make_report(
    folder: str | Path,
    data: str | Path | DataSet | None = None,
    *,
    out: str | Path | None = None,
    test: bool = True,
    quick: bool = False,
    follow_links: bool = False,
    device: str = "auto",
    network: NetworkFactory | None = None,
    trust_network: bool = False,
    progress: Progress = log_progress,
) -> Path:
    """Write the report of a finished run, or of a comparison, and return the page.

    Figures (SVG, PNG) and numbers (CSV) go into a folder beside the page that is called like it.

    Args:
        folder: A run, or the folder of a comparison (with ``comparison.json``).
        data: The data, for pictures and scores of images; None: what the folder alone knows.
        out: The page; ``report.html`` in the folder by default.
        test: Evaluate the test images of the data, if there are any; else validation images.
        quick: Look at few images, so that it takes a few seconds however large they are; without
            ``test`` files are not checked again either.
        follow_links: Whether links that lead out of a data folder are read, as in ``read_folder``.
        device: Where networks are computed.
        network: The user's own network, if the run was trained with one.
        trust_network: As in ``load_run``.
        progress: Told how it goes on.

    Raises:
        ImsegError: If there is no finished run or comparison, the data does not fit it, or the page
            cannot be written.
    """
    # Neither `imseg --help` nor workers wait for what draws.
    from imseg.report.html import comparison_page, image_sections, parts, run_page, words

    place = Path(folder)
    target = place_of(place, out)
    if out is None:
        RunFolder(place).check_links()
    if (place / RESULT_FILE).exists():
        found = read_comparison(place)
        name = "DATA" if data is None else data.name if isinstance(data, DataSet) else data
        runs, images = image_sections.kept_runs(found), None
        if data is not None and runs:
            first = next(iter(runs.values()))
            dataset = _read(
                data, first, test=True, quick=False, follow_links=follow_links, progress=progress
            )
            images = image_sections.compared_section(
                found, runs, dataset, device=device, progress=progress
            )
        page = comparison_page.comparison_page(found, data=words.quoted(name), images=images)
        return parts.write_page(page, target, beside=figures_beside(target))
    if (place / SETTINGS_FILE).exists():
        raise ImsegError(
            f"The comparison in {place} is not finished.",
            expected="comparison.json, which is written after each seed.",
            hint="repeat its imseg compare command; it continues where it was stopped.",
        )
    facts = RunFacts(load_run(place, network=network, trust_network=trust_network))
    if not quick:
        progress(Note(text=f"The report goes to {target}"))
    known = None
    if data is not None:
        known = _read(
            data, facts.run, test=test, quick=quick, follow_links=follow_links, progress=progress
        )
    page = run_page.run_page(facts, known, test=test, quick=quick, device=device, progress=progress)
    return parts.write_page(page, target, beside=figures_beside(target))


def figures_beside(page: Path) -> Path:
    """Return the folder with the figures and tables of a page."""
    return page.with_suffix("")


def place_of(folder: Path, out: str | Path | None) -> Path:
    """Return where a page goes.

    Args:
        folder: The run or the comparison.
        out: The page that was asked for; None: the default.

    Raises:
        ImsegError: If that is no name of a page.
    """
    target = folder / PAGE if out is None else Path(out)
    if target.suffix.lower() not in (".html", ".htm"):
        better = target / PAGE if target.is_dir() else target.with_suffix(".html")
        raise ImsegError(
            f"{target} is no name for a page.",
            expected="a file that ends in .html.",
            got=shown(target.suffix) or "no ending.",
            hint=f"--out {shown(better)}",
        )
    return target


def _read(
    data: str | Path | DataSet,
    run: Run,
    *,
    test: bool,
    quick: bool,
    follow_links: bool,
    progress: Progress,
) -> DataSet:
    if isinstance(data, DataSet):
        return data
    if quick and not test:  # a run that was just trained: no file is checked again
        layout = find_layout(Path(data), links_are="follow" if follow_links else "refuse")
        return DataSet(
            name=str(data),
            spec=run.spec,
            reading=run.reading,
            labeled=layout.labeled,
            unlabeled=layout.unlabeled,
            val=layout.val,
        )

    def told(done: int, total: int) -> None:
        progress(Working(what="checking images", done=done, total=total))

    return read_folder(data, task=word_of(run.spec), follow_links=follow_links, progress=told)
