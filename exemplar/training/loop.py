"""fit(): the one loop. It yields a record per epoch and knows neither MLflow nor any file but its checkpoint."""

from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch
from jaxtyping import Int64
from torch import Tensor

from exemplar.datasets.streams import torch_seed
from exemplar.errors import UserError, reason, say
from exemplar.runtime import collective
from exemplar.runtime.device import Compute, enough_memory, more_room
from exemplar.runtime.progress import Progress, track
from exemplar.training import captured
from exemplar.training.captured import Capture, Steps
from exemplar.training.checkpoints import UNREADABLE, Checkpoint, restore
from exemplar.training.contract import Epoch, Settings
from exemplar.training.learner import Learner, Outcome, Samples
from exemplar.training.order import Order, batches, draw_order
from exemplar.training.state import TrainState
from exemplar.training.watch import DivergenceCheck, nonzero_gradients, smaller_batches

STEPS_BETWEEN_NUMBERS = 20
SAMPLES_AT_ONCE = 256
Observed = tuple[Outcome, Int64[Tensor, ""]]


def fit(
    model: Learner,
    data: Samples,
    settings: Settings,
    *,
    compute: Compute,
    random_seed: int,
    label: str,
    checkpoint: Path | None = None,
    capture: Capture | None = None,
) -> Iterator[Epoch]:
    """Train on every row of an epoch once, as the recipe of the learner says, and yield a record after each epoch.

    With a `checkpoint` that exists the training goes on where it was written, after the records of its epochs are
    yielded again, and ends with the same weights as without the interruption. All processes of a training call it, and
    only process 0 is told where the checkpoint is. A `capture` lets it replay steps instead of doing them; without one
    `captured.chosen` decides. Raises UserError when memory is short, or loss, weights or gradients show that nothing is
    learnt.
    """
    capture = captured.chosen(capture, model, compute, label=label)
    with enough_memory(f"{label}: network and samples; choose a smaller model, {more_room(compute.device)}"):
        data = data.to(compute.device)
        model.to(compute.device).to(memory_format=torch.channels_last).train()
        model.begin(data)
        state = TrainState(model, settings, captured=capture is not None)
        path = collective.same_path(checkpoint, compute)
        kept = Checkpoint(path, compute) if path else None
        require_trained(model, state.optimizer)
        found = kept.load(state.load_state_dict, model.tables) if kept and compute.rank == 0 else None
        same_start(state, found, compute)
    step = partial(observed_step, state, data, compute=compute)
    steps = Steps(step, batch_size=settings.batch_size, capture=capture, label=label)
    yield from state.epochs
    share = settings.share(len(data))
    done = len(state.epochs) * share + state.progress.steps * settings.batch_size
    if checkpoint and 0 < done < settings.epochs * share:
        say(f"{label}: goes on after {done} samples of an interrupted training")
    with track(total=settings.epochs * share, unit="samples", label=label, done=done) as progress:
        for epoch in range(len(state.epochs), settings.epochs):
            # A stream per epoch, for dropout and some orders: a resumed training draws what the uninterrupted one drew.
            torch.manual_seed(torch_seed(random_seed, "training", epoch))
            order = draw_order(data, settings, random_seed=random_seed, epoch=epoch, device=compute.device)
            with enough_memory(
                smaller_batches(settings) + (f", or train without {captured.SWITCH}" if capture else "")
            ):
                record = train_epoch(
                    state, data, order, settings, learn=steps, compute=compute, progress=progress, checkpoint=kept
                )
            state.end_epoch(record)
            if kept and collective.agreed(kept.is_due() or record.epoch == settings.epochs, compute):
                kept.save(state.state_dict(), model.tables)
            yield record
    steps.end()


def train_epoch(
    state: TrainState,
    data: Samples,
    order: Order,
    settings: Settings,
    *,
    learn: Steps[Observed],
    compute: Compute,
    progress: Progress,
    checkpoint: Checkpoint | None,
) -> Epoch:
    """These samples once, in this order, with the learning rate of the moment.

    Nothing waits for the device but the numbers that are shown and checked now and then.
    """
    part, epoch = state.progress, len(state.epochs)
    watch = DivergenceCheck(progress.label, settings.section, settings.learning_rate, epoch + 1)
    signal = torch.zeros((), device=compute.device)
    part.restore_rng()
    steps = -(-len(order) // settings.batch_size)
    for step, indices in enumerate(batches(order, settings.batch_size, first=part.steps), part.steps):
        state.set_rate((epoch + step / steps) / settings.epochs)
        outcome, reached = learn(indices)
        part.add(outcome, rows=len(indices))
        signal += reached
        if step % STEPS_BETWEEN_NUMBERS == 0:
            watch.check_loss(float(part.loss_sum))
            scores = outcome.sums if state.model.measured else {"score": outcome.score}
            shown = {name: float(value) / len(indices) for name, value in scores.items()}
            progress.show(loss=float(outcome.loss), **shown)
        progress.advance(len(indices))
        is_asked = part.steps < steps and (compute.processes == 1 or step % STEPS_BETWEEN_NUMBERS == 0)
        if checkpoint and is_asked and collective.agreed(checkpoint.is_due_inside(), compute):
            watch.check_loss(float(part.loss_sum))
            checkpoint.save(state.state_dict(), state.model.tables)
    watch.check_loss(float(part.loss_sum))
    watch.check_network(state.model, signal=float(signal))
    seconds = part.seconds()
    score = float(part.score) / len(order)
    if state.model.measured:
        score = measure(state.model, data, compute)["score"]
    unseen = measure(state.model, data.unseen(), compute)
    further = {name: float(value) / len(order) for name, value in part.sums.items()}
    further |= {f"held_out_{name}": mean for name, mean in unseen.items() if name != "score"}
    return Epoch(
        epoch=epoch + 1,
        loss=float(part.loss_sum) / len(order),
        score=score,
        held_out_score=unseen.get("score"),
        chance=state.model.chance,
        learning_rate=settings.learning_rate * state.factor,
        encoder_passes=round(len(order) * state.model.passes),
        samples_per_second=len(order) / seconds,
        further=further,
    )


def observed_step(state: TrainState, data: Samples, indices: Int64[Tensor, " b"], *, compute: Compute) -> Observed:
    """A step, and how many weights of the first layer its gradients reach."""
    outcome = train_step(state, data, indices, compute=compute)
    return outcome, nonzero_gradients(state.model)


def train_step(state: TrainState, data: Samples, indices: Int64[Tensor, " b"], *, compute: Compute) -> Outcome:
    """A step on a batch, of which this process computes its rows: the batch's loss and sums."""
    share = collective.share(len(indices), compute)
    state.model.begin_step(data, indices, state.optimizer)
    batch, dice = data.render(indices[share.rows]), torch.get_rng_state()
    with compute.autocast(), state.model.sharing(share):
        mine = state.model(batch)
    if not (state.model.draws or torch.equal(dice, torch.get_rng_state())):
        raise TypeError(f"{type(state.model).__name__}.forward draws; draw for every row where the rows are made")
    counts = bool(share.counted)
    loss, score = mine.loss * (share.counted / share.whole), mine.score.detach().float() * counts
    sums = {name: value.detach().float() * counts for name, value in mine.sums.items()}
    state.optimizer.zero_grad()
    loss.backward()
    loss = loss.detach()
    gradients = [weights.grad for weights in state.model.parameters() if weights.grad is not None]
    collective.add_up([loss, score, *sums.values(), *gradients], compute)
    with compute.autocast_step():
        state.optimizer.step()
    state.model.end_step(state.optimizer)
    return Outcome(loss, score, sums)


def require_trained(model: Learner, optimizer: torch.optim.Optimizer) -> None:
    """Raise TypeError where a weight wants a gradient and the optimizer does not have it, exactly once."""
    given = Counter(id(weights) for group in optimizer.param_groups for weights in group["params"])
    for name, weights in model.named_parameters():
        if weights.requires_grad and given[id(weights)] != 1:
            raise TypeError(
                f"{type(model).__name__}.optimizer has {name} {given[id(weights)]} times; every weight that is trained "
                "belongs to one group, and requires_grad_(False) says that one is not"
            )


def same_start(state: TrainState, found: Path | None, compute: Compute) -> None:
    """Let every process begin with the weights, momenta and records of process 0, which has `found` a state or none."""
    if compute.processes > 1:
        path = collective.same_path(found, compute)
        if path is None:
            collective.same_numbers(weights.detach() for weights in state.model.parameters())
        elif compute.rank:
            try:
                restore(path, state.load_state_dict, state.model.tables)
            except UNREADABLE as error:
                raise UserError(
                    f"process {compute.rank} cannot read the checkpoint {path} ({reason(error)}), which process 0 has "
                    "read; all machines need the same folder there"
                ) from None


def measure(model: Learner, data: Samples, compute: Compute) -> dict[str, float]:
    """The mean `score` of rows, each once, by a network as it stands, and of what else it tells; {} for no rows.

    All rows, or as many as the learner says, spread evenly. Every process measures all of them, in the same batches.
    """
    if not len(data):
        return {}
    totals: dict[str, Tensor] = {}
    stride = -(-len(data) // (model.measured or len(data)))
    rows = torch.arange(0, len(data), stride, device=compute.device)
    model.eval()
    with torch.inference_mode():
        seen = []
        for indices in torch.split(rows, int(SAMPLES_AT_ONCE / model.passes)):
            batch = data.render(indices)  # in float32, as in a step
            with compute.autocast():
                seen.append(model.look(batch))
        with compute.autocast():
            outcomes = model.judge(seen)
        for outcome in outcomes:
            for name, value in {"score": outcome.score, **outcome.sums}.items():
                totals[name] = totals.get(name, 0) + value.float()
    model.train()
    return {name: float(total) / len(rows) for name, total in totals.items()}
