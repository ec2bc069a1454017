"""Baselines that are matched to another run: its steps and width, or its cost."""

import math
from dataclasses import replace

import torch

from imseg.approaches.planning import budget, settings
from imseg.approaches.planning.plan import Facts, Plan
from imseg.approaches.runs.run import Run
from imseg.engine.training.operations import flops_of
from imseg.progress import Note, Progress


def matched_plan(
    plan: Plan, run: Run, facts: Facts, asked: settings.Settings, *, progress: Progress
) -> Plan:
    """Return the plan of a baseline with what another run settles.

    Args:
        plan: The baseline's own plan.
        run: The run that it is matched to.
        facts: What the data is like.
        asked: What was asked for.
        progress: Told where a comparison with it says nothing.
    """
    final = run.trained(run.summary["network"])
    if run.plan.approach.generations and len(run.summary["stages"]) == 1:
        text = f"{run.path} ended with its start: no unlabeled image was used. A comparison with it"
        progress(Note(text=f"{text} says nothing about unlabeled images.", warning=True))
    elif run.plan.approach.generations and run.summary["stage"] == "start":
        text = f"The network of {run.path} is that of its start, which learned from labels alone."
        text += " A comparison with it says nothing about unlabeled images."
        progress(Note(text=text, warning=True))
    steps = final.steps
    if plan.approach.at_cost:
        steps = steps_at_cost(run, facts)
        plan = replace(plan, approach=replace(plan.approach, networks=1))
    elif asked.networks is None:
        # The best of as many: more networks to choose from would be an advantage.
        stage = next(s for s in run.summary["stages"] if s["name"] == run.summary["stage"])
        plan = replace(plan, approach=replace(plan.approach, networks=len(stage["networks"])))
    if asked.tta is None:
        plan = replace(plan, tta=run.plan.tta)
    if asked.compile == "auto":
        plan = replace(plan, compute=replace(plan.compute, compile=run.plan.compute.compile))
    return budget.match_plan(
        plan,
        matched=run.plan,
        steps=steps,
        network=final.network,
        labeled=facts.labeled,
        given=asked.given,
    )


def steps_at_cost(run: Run, facts: Facts) -> int:
    """Return for how many steps labels alone cost as much as all networks of a run.

    Args:
        run: Finished.
        facts: What its data is like.
    """
    final, compute = run.trained(run.summary["network"]), run.compute("cpu")
    (network,) = run.load([final.name], device="cpu")
    # Twice the same: one alone may be too few to normalize.
    images = torch.zeros(2, final.channels, *run.plan.image_size)
    images = images.contiguous(memory_format=compute.memory_format)
    a_sample = flops_of(lambda spare: spare(images), network, compute) / len(images)
    a_step = a_sample * run.plan.recipe.mean_batch(facts.labeled * run.plan.tiles_each)
    return math.ceil(float(run.summary["flops"]) / a_step)
