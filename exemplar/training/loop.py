"""fit(): the one loop. It yields a record per epoch and knows neither MLflow nor any file but its checkpoint."""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from exemplar.datasets.streams import torch_seed
from exemplar.runtime import collective
from exemplar.runtime.device import Compute, enough_memory
from exemplar.runtime.progress import Progress, track
from exemplar.surrogate.sets import SurrogateSet
from exemplar.training.checkpoints import Checkpoint, say
from exemplar.training.contract import Epoch, Settings
from exemplar.training.learner import Learner
from exemplar.training.state import TrainState
from exemplar.training.watch import DivergenceCheck, nonzero_gradients, smaller_batches

STEPS_BETWEEN_NUMBERS = 20
SAMPLES_AT_ONCE = 256


def fit(
    model: Learner,
    data: SurrogateSet,
    settings: Settings,
    *,
    compute: Compute,
    random_seed: int,
    label: str,
    checkpoint: Path | None = None,
) -> Iterator[Epoch]:
    """Train on every sample of an epoch once, as the recipe of the learner says, and yield a record after each epoch.

    With a `checkpoint` that exists the training goes on where it was written, after the records of its epochs are
    yielded again, and ends with the same weights as without the interruption. All processes of a training call it, and
    only process 0 has a checkpoint. Raises UserError when memory is short, or loss, weights or gradients show that
    nothing is learnt.
    """
    with enough_memory(f"{label}: the samples find no room on {compute.device}; set compute.device to 'cpu'"):
        data = data.to(compute.device)
    model.to(compute.device).to(memory_format=torch.channels_last).train()
    model.begin(data)
    state, kept = TrainState(model, settings), Checkpoint(checkpoint) if checkpoint else None
    if kept:
        kept.load(state.load_state_dict)
    same_start(state, compute)
    yield from state.epochs
    share = len(data) // settings.epochs if settings.new_samples else len(data)
    done = len(state.epochs) * share + state.progress.steps * settings.batch_size
    if done and kept:
        say(f"{label}: goes on after {done} samples of an interrupted training")
    with track(total=settings.epochs * share, unit="samples", label=label, done=done) as progress:
        for epoch in range(len(state.epochs), settings.epochs):
            # A stream per epoch, for the order and dropout: a resumed training draws what the uninterrupted one drew.
            torch.manual_seed(torch_seed(random_seed, "training", epoch))
            first = epoch * share if settings.new_samples else 0
            order = (first + torch.randperm(share)).to(compute.device)
            with enough_memory(smaller_batches(settings.section, settings.batch_size)):
                record = train_epoch(state, data, order, settings, compute=compute, progress=progress, checkpoint=kept)
            state.end_epoch(record)
            if kept and (kept.is_due() or record.epoch == settings.epochs):
                kept.save(state.state_dict())
            yield record


def train_epoch(
    state: TrainState,
    data: SurrogateSet,
    order: Int64[Tensor, " n"],
    settings: Settings,
    *,
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
    batches = torch.split(order, settings.batch_size)
    for step, indices in list(enumerate(batches))[part.steps :]:
        state.set_rate((epoch + step / len(batches)) / settings.epochs)
        loss, correct = train_step(state, data, indices, compute=compute)
        part.add(loss_sum=loss * len(indices), right=correct)
        signal += nonzero_gradients(state.model.encoder)
        if step % STEPS_BETWEEN_NUMBERS == 0:
            watch.check_loss(float(part.loss_sum))
            progress.show(loss=float(loss), accuracy=float(correct) / len(indices))
        progress.advance(len(indices))
        if checkpoint and checkpoint.is_due_inside() and part.steps < len(batches):
            watch.check_loss(float(part.loss_sum))
            checkpoint.save(state.state_dict())
    watch.check_loss(float(part.loss_sum))
    watch.check_network(state.model, signal=float(signal))
    seconds, unseen = part.seconds(), data.unseen()
    return Epoch(
        epoch=epoch + 1,
        loss=float(part.loss_sum) / len(order),
        accuracy=float(part.right) / len(order),
        held_out_accuracy=measure_accuracy(state.model, unseen, compute) if len(unseen) else None,
        learning_rate=settings.learning_rate * state.factor,
        samples_per_second=len(order) / seconds,
    )


def train_step(
    state: TrainState, data: SurrogateSet, indices: Int64[Tensor, " b"], *, compute: Compute
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """A step on a batch, of which this process computes its rows: the batch's loss and samples right."""
    share = collective.share(len(indices), compute)
    samples, targets = data.render(indices[share.rows])
    with compute.autocast(), state.model.sharing(share):
        mean, correct = state.model((samples.contiguous(memory_format=torch.channels_last), targets))
    loss, right = mean * (share.counted / share.whole), correct.float() * bool(share.counted)
    state.optimizer.zero_grad()
    loss.backward()
    loss = loss.detach()
    gradients = [weights.grad for weights in state.model.parameters() if weights.grad is not None]
    collective.add_up([loss, right, *gradients], compute)
    state.optimizer.step()
    return loss, right


def same_start(state: TrainState, compute: Compute) -> None:
    """Let every process begin with the weights, momenta and records of process 0, which has the checkpoint."""
    if compute.processes > 1:
        content = BytesIO()
        torch.save(state.state_dict(), content)
        given = collective.from_first(content.getvalue(), compute)
        state.load_state_dict(torch.load(BytesIO(given), map_location="cpu", weights_only=True))


def measure_accuracy(model: Learner, data: SurrogateSet, compute: Compute) -> float:
    """The share of samples, each once, that a network classifies right as it stands, between 0 and 1."""
    right = torch.zeros((), device=compute.device)
    model.eval()
    with torch.inference_mode(), compute.autocast():
        for indices in torch.split(torch.arange(len(data), device=compute.device), SAMPLES_AT_ONCE):
            samples, targets = data.render(indices)
            right += model((samples.contiguous(memory_format=torch.channels_last), targets))[1]
    model.train()
    return float(right) / len(data)
