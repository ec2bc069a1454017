"""``imseg evaluate``, ``predict`` and ``report``: what a finished run is good for."""

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from imseg.cli import show
from imseg.cli.arguments import Data, Device, Ensemble, Json, Network, RunPath, TrustNetwork
from imseg.data.folder.config import LARGEST_PIXEL
from imseg.errors import ImsegError, shown


def evaluate(
    run: RunPath,
    data: Data,
    split: Annotated[str, typer.Option(help="test, val or labeled.")] = "test",
    ensemble: Ensemble = 1,
    network: Network = None,
    trust_network: TrustNetwork = False,
    pictures: Annotated[
        Path | None, typer.Option(help="Draw the best, middle and worst images into this PNG.")
    ] = None,
    device: Device = "auto",
    json: Json = False,
) -> int:
    """Show scores with their 95 % intervals: means over images, and over all pixels together."""
    from imseg.approaches.runs.run import load_run
    from imseg.data.folder.scan import read_folder
    from imseg.data.masks.recognize import word_of
    from imseg.report.figures import gallery, save
    from imseg.report.tables import audit_table, evaluation_text, judgment_text

    opened = load_run(run, trust_network=trust_network)
    names = [network] if network else opened.members(ensemble)
    if opened.start_was_better and not network:
        show.say(f"note: --network {opened.best_of_start} was better on validation")
    show.say(f"{run} was trained for {word_of(opened.spec)} masks")
    with show.Bars() as bars:
        dataset = read_folder(
            data, task=word_of(opened.spec), progress=partial(bars.counted, "checking images")
        )
        found = opened.evaluate(
            dataset,
            split,
            networks=names,
            device=device,
            progress=partial(bars.counted, "evaluating"),
        )
    if dataset.spec.names != opened.spec.names:
        theirs, ours = (shown(", ".join(each.spec.names)) for each in (dataset, opened))
        show.say(f"warning: the classes here are {theirs}; the run was trained on {ours}")
    if pictures is not None:
        save(pictures, gallery(opened, getattr(dataset, split), found, networks=names))
    parts = [
        f"{', '.join(names)} of {shown(run)} on {split}",
        evaluation_text(found),
        audit_table(opened),
        judgment_text(opened),
    ]
    if pictures is not None:
        parts.append(f"Pictures, from best to worst: {shown(pictures)}")
    content = {**found.as_dict(), "split": split, "networks": names}
    content |= {"audits": opened.audits, "judgment": opened.judgment}
    return show.show_result("\n\n".join(part for part in parts if part), content, as_json=json)


MOST_SHOWN = 5
"""Most inconsistent pictures that are named."""


def predict(
    run: RunPath,
    images: Annotated[Path, typer.Argument(help="A picture, or a folder of pictures.")],
    out: Annotated[Path, typer.Option(help="Where masks go, as PNG.")],
    overlay: Annotated[
        bool, typer.Option("--overlay", help="Also draw masks on pictures, in OUT/overlays.")
    ] = False,
    inconsistency: Annotated[
        bool,
        typer.Option(
            "--inconsistency", help="Also write where networks disagree, in OUT/inconsistency."
        ),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace masks that are there already.")
    ] = False,
    pixel_size: Annotated[
        float | None,
        typer.Option(help="Micrometers a pixel, for areas.  [default: as in the training data]"),
    ] = None,
    ensemble: Ensemble = 1,
    network: Network = None,
    trust_network: TrustNetwork = False,
    device: Device = "auto",
    json: Json = False,
) -> int:
    """Write masks at the images' own sizes, in the values of the masks the run was trained on."""
    from imseg.approaches.runs.run import load_run
    from imseg.data.masks.io import describe_values
    from imseg.report.prediction_files import COUNTS_NAME, FILE_NAME, write_predictions

    if pixel_size is not None and not 0 < pixel_size <= LARGEST_PIXEL:
        raise ImsegError(
            "--pixel-size is out of range.",
            expected=f"micrometers above 0, at most {LARGEST_PIXEL:g}.",
            got=f"{pixel_size}.",
        )
    opened = load_run(run, trust_network=trust_network)
    if opened.start_was_better and not network:
        show.say(f"note: --network {opened.best_of_start} was better on validation")
    with show.Bars() as bars:
        written = write_predictions(
            opened,
            images,
            out,
            overlay=overlay,
            inconsistency=inconsistency,
            networks=[network] if network else opened.members(ensemble),
            device=device,
            overwrite=overwrite,
            pixel_size=pixel_size,
            progress=partial(bars.counted, "predicting"),
        )
    masks = f"{len(written)} mask{'s' * (len(written) != 1)}"
    lines = [f"{masks} in {shown(out)}: {shown(describe_values(opened.spec))}"]
    tables = [out / name for name in (FILE_NAME, COUNTS_NAME) if (out / name).exists()]
    if tables:
        lines.append(f"Areas, counts or means: {', '.join(map(shown, tables))}")
    if inconsistency:
        lines.append("Most inconsistent, so worth labeling next:")
        first = written[:MOST_SHOWN]
        lines += [f"  {each.inconsistent:6.1%}  {shown(each.image)}" for each in first]
    content = {"out": str(out), "masks": [asdict(each) for each in written]}
    return show.show_result("\n".join(lines), content, as_json=json)


def report(
    folder: Annotated[
        Path,
        typer.Argument(
            help="The folder of a finished run, or of a comparison.", metavar="RUN|COMPARISON"
        ),
    ],
    data: Annotated[
        Path | None,
        typer.Argument(help="The data folder: adds images and scores on its test split."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The page.  [default: report.html in the folder]")
    ] = None,
    device: Device = "auto",
    trust_network: TrustNetwork = False,
    json: Json = False,
) -> int:
    """Write a page that says what was found, with figures, images, and all numbers beside it."""
    from imseg.report.html.make import figures_beside, make_report, place_of

    place_of(folder, out)  # a name that cannot be is told before anything is looked at
    with show.Bars() as bars:
        page = make_report(
            folder, data, out=out, device=device, trust_network=trust_network, progress=bars
        )
    files = figures_beside(page)
    text = f"Report: {shown(page)}\nFigures and tables: {shown(files)}"
    if data is None:
        text += f"\nWith images: imseg report {shown(folder)} DATA"
    return show.show_result(text, {"report": str(page), "files": str(files)}, as_json=json)
