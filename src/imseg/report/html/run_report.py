"""The page of one run."""

from __future__ import annotations

from pathlib import Path, PurePath

from imseg.progress import Progress
from imseg.report.html.blocks import Page, Section
from imseg.report.html.image_sections import followed_section, next_images_section, pictures_section
from imseg.report.html.run_facts import RunFacts, look
from imseg.report.html.run_sections import (
    classes_section,
    cost_section,
    labels_section,
    learning_section,
    next_section,
    scorers_section,
    scores_section,
    warnings_section,
)
from imseg.report.html.words import answer_of, learned_from, quoted
from imseg.types import VERSION, DataSet


def run_page(
    facts: RunFacts,
    dataset: DataSet | None,
    *,
    test: bool,
    quick: bool,
    device: str,
    progress: Progress,
) -> Page:
    """Return everything that the page of a run says.

    Args:
        facts: What the run folder knows.
        dataset: The data, if it is there.
        test: Look at test images, if there are any.
        quick: Look at few images.
        device: Where to compute.
        progress: Told how it goes on.

    Raises:
        ImsegError: If the masks do not mean what they meant in the run.
    """
    named = dataset is not None and Path(dataset.name).is_dir()
    data = quoted(dataset.name) if dataset is not None and named else "DATA"
    looked = None
    if dataset is not None:
        looked = look(facts, dataset, test=test, quick=quick, device=device, progress=progress)
    sections: list[Section | None] = [
        scores_section(facts, looked),
        learning_section(facts),
        classes_section(looked, facts.run.spec) if looked is not None else None,
        pictures_section(facts, looked, data=data),
        followed_section(facts, looked),
        labels_section(facts),
        scorers_section(facts),
        next_images_section(facts, dataset, quick=quick, device=device, progress=progress),
        warnings_section(facts),
        cost_section(facts, data=data),
        next_section(facts, data=data),
    ]
    plan = facts.run.plan
    from_what = learned_from(facts.labeled, facts.unlabeled, facts.upper_bound_images)
    return Page(
        title=f"{plan.approach} on {PurePath(str(facts.provenance['data']['name'])).name}",
        subtitle=f"{from_what}, seed {plan.seed}, {str(facts.provenance['started'])[:10]}",
        answer=answer_of(facts, looked, data=data),
        sections=tuple(section for section in sections if section is not None),
        footer=f"Made by imseg {VERSION} from the run {facts.run.path.name}.",
    )
