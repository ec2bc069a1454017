"""The one training loop, whatever the objective."""

import math
from dataclasses import replace

from torch import Tensor

from imseg.engine.training.checkpoint import Checkpoints, forget, path_of, read_saved
from imseg.engine.training.job import Trained, TrainJob, first_network, save_weights, write_trained
from imseg.engine.training.learner import Learner
from imseg.engine.training.monitor import VALIDATION, Clock, Listener, hear, with_rest
from imseg.errors import MemoryTooShort, TrainingFailed

NO_SCORE = -1e9
"""Stands for a score that is no number; lower than any."""
AGAIN = "trained again with another seed and half the learning rate"
"""What becomes of a network whose first training failed."""


def train_and_save(job: TrainJob, listener: Listener) -> Trained:
    """Train a network and write its weights and then, last, what is known about it.

    A loss that is no number, or a network that is dead in the end, is answered once, with another
    seed and half the learning rate. What was killed before continues after its last checkpoint, to
    the same bits.

    Args:
        job: What to train and where it goes.
        listener: Told how it goes on.

    Raises:
        TrainingFailed: If the second try fails as well, or memory is too short.
    """
    first, second = None, job.second_try()
    saved = read_saved(path_of(job.output))
    if saved is None or saved.job != second.digest():
        try:
            first = train(job, listener)
        except MemoryTooShort:
            raise  # another seed needs as much
        except TrainingFailed as failure:
            why = str(failure).removeprefix(f"{job.name}: ")
            listener.note(f"{why}; {AGAIN}", warning=True)
        # And only then the second try: the error keeps the tensors of the first alive.
    if first is None:
        try:
            trained, state = train(second, listener)
        except TrainingFailed:
            forget(job.output)
            raise
        trained = replace(trained, job=job.digest(), retried=True)
    else:
        trained, state = first
    trained = replace(trained, sha256=save_weights(state, job.output))
    write_trained(job.output, trained)
    forget(job.output)
    return trained


def train(job: TrainJob, listener: Listener) -> tuple[Trained, dict[str, Tensor]]:
    """Train one network and return what is known about it and the weights of its best epoch.

    Args:
        job: What to train.
        listener: Told how it goes on.

    Raises:
        TrainingFailed: If the loss stops being a number, or the network is dead: it says the same
            whatever it sees.
    """
    clock = Clock()
    objective = job.objective.open(job)
    network = first_network(job)
    hear(network, listener)
    learning = objective.begin(network)
    learner = Learner(learning, job, objective, listener=listener, clock=clock)
    checkpoints = Checkpoints(job, clock)
    state = checkpoints.restore(
        learning, learner, tell=lambda wrong: listener.note(wrong, warning=True)
    )
    if learner.steps_made:
        listener.note(f"continues after step {learner.steps_made} of {job.steps}")
        listener.stepped(learner.steps_made, state.last_loss)

    def keep() -> None:
        checkpoints.keep(state, learning, learner)

    for steps in objective.passes(skipped=len(state.losses), within=state.epoch.steps):
        loss = learner.learn(steps, state.epoch, after=keep)
        kept = objective.kept(learning)
        with clock.on(VALIDATION):
            score = objective.score(kept)
        last = job.recipe.keep == "last"
        state.add(loss, score if math.isfinite(score) else NO_SCORE, kept, always=last)
        keep()
    best, epoch_scores = state.best, state.epoch_scores
    if not all(value.isfinite().all() for value in best.values()):
        raise TrainingFailed(f"{job.name}: the weights stopped being numbers")
    network.load_state_dict(best)
    learner.flush()
    with clock.on(VALIDATION):
        found = objective.validate(network)
    if found.dead:
        raise TrainingFailed(f"{job.name}: {found.dead}")
    if found.doubt:
        listener.note(found.doubt, warning=True)
    trained = Trained(
        name=job.name,
        job=job.digest(),
        seed=job.seed,
        images=job.images,
        steps=job.steps,
        epochs=len(epoch_scores),
        best_epoch=state.best_epoch,
        epoch_scores=tuple(epoch_scores),
        losses=tuple(state.losses),
        scores=found.scores,
        image_scores=found.each,
        parameters=sum(p.numel() for p in network.parameters()),
        flops=objective.flops(learning),
        seconds=clock.passed,
        clock=with_rest(clock.seconds, clock.passed),
        at_once=learner.most,
        network=job.network,
        channels=job.channels,
        outputs=job.outputs,
    )
    return trained, best
