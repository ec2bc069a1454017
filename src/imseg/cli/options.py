"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Data = Annotated[Path, typer.Argument(help="The data folder.", show_default=False)]
RunPath = Annotated[Path, typer.Argument(help="The folder of a finished run.", show_default=False)]
TASK_HELP = "binary, multiclass, multilabel, instances or regression.  [default: from the masks]"
Json = Annotated[bool, typer.Option("--json", help="Write one JSON object to stdout.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:0 ...")]
Ensemble = Annotated[
    int, typer.Option(help="Average the probabilities of so many of the run's best networks.")
]
Network = Annotated[
    str | None, typer.Option(help="Another network of the run, such as start/network-0.")
]
