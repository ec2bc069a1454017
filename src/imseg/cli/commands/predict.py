"""``imseg evaluate``: scores of a run on labeled images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from imseg.cli.arguments import Data, Device, Ensemble, Json, Network, RunPath, TrustNetwork


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
    from imseg.cli import show
    from imseg.data.folder.scan import read_folder
    from imseg.data.masks.recognize import word_of
    from imseg.errors import shown
    from imseg.report.figures import gallery, save
    from imseg.report.tables import audit_table, evaluation_text, judgment_text

    opened = load_run(run, trust_network=trust_network)
    names = [network] if network else opened.members(ensemble)
    if opened.start_was_better and not network:
        show.say(f"note: --network {opened.best_of_start} was better on validation")
    show.say(f"{run} was trained for {word_of(opened.spec)} masks")
    with show.Bars() as bars:
        dataset = read_folder(
            data,
            task=word_of(opened.spec),
            progress=lambda d, t: bars.counted("checking images", d, t),
        )
        found = opened.evaluate(
            dataset,
            split,
            networks=names,
            device=device,
            progress=lambda d, t: bars.counted("evaluating", d, t),
        )
    if dataset.spec.names != opened.spec.names:
        theirs, ours = (shown(", ".join(each.spec.names)) for each in (dataset, opened))
        show.say(f"warning: the classes here are {theirs}; the run was trained on {ours}")
    if pictures is not None:
        save(pictures, gallery(opened, getattr(dataset, split), found, networks=names))
    if json:
        further = {"audits": opened.audits, "judgment": opened.judgment}
        show.show_json({**found.as_dict(), "split": split, "networks": names, **further})
    else:
        print(f"{', '.join(names)} of {shown(run)} on {split}\n")
        print(evaluation_text(found))
        for text in (audit_table(opened), judgment_text(opened)):
            if text:
                print(f"\n{text}")
        if pictures is not None:
            print(f"\nPictures, from best to worst: {shown(pictures)}")
    return 0


MOST_SHOWN = 5
"""Most inconsistent pictures that are named."""


def predict(
    run: RunPath,
    images: Annotated[
        Path, typer.Argument(help="A picture, or a folder of pictures.", show_default=False)
    ],
    out: Annotated[Path, typer.Option(help="Where masks go, as PNG.", show_default=False)],
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
    import dataclasses

    from imseg.approaches.runs.run import load_run
    from imseg.cli import show
    from imseg.data.folder.config import LARGEST_PIXEL
    from imseg.data.masks.io import describe_values
    from imseg.errors import ImsegError, shown
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
            progress=lambda d, t: bars.counted("predicting", d, t),
        )
    if json:
        show.show_json({"out": str(out), "masks": [dataclasses.asdict(each) for each in written]})
        return 0
    masks = f"{len(written)} mask{'s' * (len(written) != 1)}"
    print(f"{masks} in {shown(out)}: {shown(describe_values(opened.spec))}")
    tables = [out / name for name in (FILE_NAME, COUNTS_NAME) if (out / name).exists()]
    if tables:
        print(f"Areas, counts or means: {', '.join(map(shown, tables))}")
    if inconsistency:
        print("Most inconsistent, so worth labeling next:")
        for each in written[:MOST_SHOWN]:
            print(f"  {each.inconsistent:6.1%}  {shown(each.image)}")
    return 0
