"""``imseg evaluate``: scores of a run on labeled images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from imseg.cli.options import Data, Device, Ensemble, Json, Network, RunPath


def evaluate(
    run: RunPath,
    data: Data,
    split: Annotated[str, typer.Option(help="test, val or labeled.")] = "test",
    ensemble: Ensemble = 1,
    network: Network = None,
    pictures: Annotated[
        Path | None,
        typer.Option(help="Draw the best, middle and worst images into this PNG."),
    ] = None,
    device: Device = "auto",
    json: Json = False,
) -> int:
    """Show scores with their 95 % intervals: means over images, and over all pixels together."""
    from imseg.approaches.run import load_run
    from imseg.cli import show
    from imseg.data.folder import read_folder
    from imseg.data.recognize import word_of
    from imseg.errors import shown
    from imseg.report.figures import save
    from imseg.report.gallery import gallery
    from imseg.report.tables import audit_table, evaluation_tables, judgment_text

    opened = load_run(run)
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
        print(evaluation_tables(found))
        for text in (audit_table(opened), judgment_text(opened)):
            if text:
                print(f"\n{text}")
        if pictures is not None:
            print(f"\nPictures, from best to worst: {shown(pictures)}")
    return 0
