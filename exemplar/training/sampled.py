"""A softmax over some of the classes at a time, for as many classes as memory or a disk holds (docs/method.md).

The network's heads have places for the classes that a step sees. Their rows are brought to the moment and copied there
before a step, changed by the network's own optimizer, and copied back.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from exemplar.models.network import Encoder
from exemplar.runtime.collective import Share
from exemplar.runtime.device import Compute
from exemplar.surrogate.sets import Batch, SurrogateSet
from exemplar.training import candidates, rows
from exemplar.training.candidates import Candidates
from exemplar.training.contract import Settings
from exemplar.training.learner import ClassLearner, Learner, Outcome
from exemplar.training.muon import Muon
from exemplar.training.rows import LazyRows

ROWS_MEASURED = 2048
TURNS = 16  # how many of a head's places there are to each row that is settled in a step because it is its turn
FULL_DECAY_CLASSES = 16_000  # the release's; a row that is met more seldom would decay to nothing in between
Seen = tuple[Sequence[Tensor], Int64[Tensor, " _"]]  # what the heads read of a batch of any length, and the classes


class RunningScores:
    """A batch's scores, taken in for some classes at a time: the sum over all of them, and the highest."""

    def __init__(self, targets: Int64[Tensor, " b"]) -> None:
        self.targets = targets
        self.total = self.own = self.others = torch.full((), -torch.inf, device=targets.device)

    def add(self, index: Int64[Tensor, " n"], scores: Float[Tensor, "h b n"]) -> None:
        """Each head's scores for these classes."""
        is_own = self.targets[:, None] == index
        self.total = torch.logaddexp(self.total, scores.logsumexp(2))
        self.own = torch.maximum(self.own, scores.masked_fill(~is_own, -torch.inf).amax(2))
        self.others = torch.maximum(self.others, scores[0].masked_fill(is_own, -torch.inf).amax(1))

    def outcome(self) -> Outcome:
        """Mean loss and how many are right; a score as high as the own class's is an error."""
        return Outcome((self.total - self.own).mean(1).sum(), (self.own[0] > self.others).sum())


class Sampled(Learner):
    """A network whose heads have places for the classes of a batch and `negatives` more, and the rows of all classes.

    `key` decides which classes are drawn. A step's score is among the classes that it sees; in evaluation it is
    among all.
    """

    measured = ROWS_MEASURED
    on_host = "train.negatives counts the steps on the host"
    settled_at: Tensor
    now: Candidates

    def __init__(
        self,
        network: ClassLearner,
        classes: int,
        *,
        negatives: int,
        key: int,
        generator: torch.Generator,
        compute: Compute,
        checkpoint: Path | None = None,
    ) -> None:
        super().__init__()
        self.network, self.classes, self.negatives, self.key = network, classes, negatives, key
        self.chance, self.draws, self.passes = 1 / classes, network.draws, network.passes
        self.places, self.steps = len(self.heads[0]), 0
        self.in_turn = max(self.places // TURNS, 1)
        self.turns = -(-(classes + 1) // self.in_turn)
        widths = [weights[0].numel() for weights in self.heads]
        size_bytes = 8 * (classes + 1) * sum(widths)
        folder = rows.folder_of_rows(size_bytes, classes, compute=compute, checkpoint=checkpoint)
        self.tables = [LazyRows(classes, width, longest=self.turns, compute=compute, folder=folder) for width in widths]
        self.start_from_samples = not network.rows()[0][1]
        for table, (_, spread) in zip(self.tables, network.rows(), strict=True):
            if spread:
                table.draw(spread, generator)
        self.lazy_rows = nn.ModuleList(self.tables)
        self.register_buffer("settled_at", torch.zeros(classes + 1, dtype=torch.int32))

    @property
    def heads(self) -> list[Tensor]:
        """The weights that have a place for each class that a step sees."""
        return [weights for weights, _ in self.network.rows()]

    @torch.no_grad()
    def begin_step(self, data: SurrogateSet, indices: Int64[Tensor, " b"], optimizer: Optimizer) -> None:
        """Settle the rows whose turn it is, so that none waits for too long, and give the step's rows to the heads."""
        first = self.steps % self.turns * self.in_turn
        last = min(first + self.in_turn, self.classes + 1)
        turn = torch.arange(first, last, device=indices.device)
        for table in self.tables:
            table.put(turn, *table.settled(turn, self.waited(turn)))
        self.settled_at.index_fill_(0, turn, self.steps)
        strata = candidates.strata(self.classes, self.negatives, device=indices.device)
        self.now = candidates.choose(data.classes(indices), strata, places=self.places, key=self.key, step=self.steps)
        starting = self.start_from_samples and self.steps * (self.places - self.negatives) < len(data.label)
        if starting:
            self.start(data, indices)
        for weights, momentum in zip(self.heads, self.fill(self.now.index), strict=True):
            optimizer.state[weights][rows.momentum_name(optimizer)] = momentum.view_as(weights)
        if starting:
            self.now = self.now.without(~self.heads[0].flatten(1).any(1))

    def start(self, data: SurrogateSet, indices: Int64[Tensor, " b"]) -> None:
        """Let the rows of classes that were not seen yet start from the first samples of their seeds.

        The first pass over all seeds sees every class. Until then its row is 0, and it takes no part.
        """
        first = indices // data.draws.samples * data.draws.samples
        classes, place = data.classes(indices).sort(stable=True)
        classes[1:].masked_fill_(classes[1:] == classes[:-1], self.classes)  # written once, by the first of its seeds
        for table, start in zip(self.tables, self.network.starts(data.render(first)[0]), strict=True):
            settled, momentum = table.settled(classes, self.waited(classes))
            is_new = (classes < self.classes) & ~settled.any(1)
            table.put(classes, torch.where(is_new[:, None], start[place], settled), momentum)
        self.settled_at.index_fill_(0, classes, self.steps)

    @torch.no_grad()
    def end_step(self, optimizer: Optimizer) -> None:
        """Take the rows and their momenta back, and let a step pass for all others; nothing is left in the places."""
        name, nesterov = rows.momentum_name(optimizer), isinstance(optimizer, Muon)
        for table, weights in zip(self.tables, self.heads, strict=True):
            changed = (weights.detach(), optimizer.state.pop(weights)[name])
            table.put(self.now.index, *(each.reshape(self.places, -1) for each in changed))
            weights.grad = None
            table.pass_step(rows.still_step(rows.group_of(weights, optimizer), nesterov=nesterov))
        self.steps += 1
        self.settled_at.index_fill_(0, self.now.index, self.steps)

    def waited(self, index: Int64[Tensor, " n"]) -> Int64[Tensor, " n"]:
        """For how many steps rows were not settled."""
        return self.steps - self.settled_at[index].long()

    @torch.no_grad()
    def fill(self, index: Int64[Tensor, " n"]) -> list[Float[Tensor, "n _"]]:
        """Copy the rows of classes to the first places of each head; their momenta."""
        momenta = []
        for table, weights in zip(self.tables, self.heads, strict=True):
            settled, momentum = table.settled(index, self.waited(index))
            weights[: len(index)] = settled.view_as(weights[: len(index)])
            momenta.append(momentum)
        return momenta

    def forward(self, batch: Batch) -> Outcome:
        """The loss with the step's classes in place of all; in evaluation that of all, and the score among all."""
        if not self.training:
            return self.judge([self.look(batch)])[0]
        samples, targets = batch
        features = self.network.read(samples)
        places, scores = self.now.place(targets), self.network.scores(features)
        losses = [functional.cross_entropy(each + self.now.log_weight, places) for each in scores]
        seen = scores[0].masked_fill(self.now.log_weight.isinf(), -torch.inf)
        right = (seen.argmax(1) == places).sum()
        return Outcome(torch.stack(losses).sum(), right, {"score_among_drawn": right})

    def look(self, batch: Batch) -> Seen:
        """What the heads read of a batch, so that all batches are judged in one pass over the rows."""
        samples, targets = batch
        return self.network.read(samples), targets

    @torch.inference_mode()  # under no_grad alone autocast would keep the first rows that the heads held
    def judge(self, seen: list[Seen]) -> list[Outcome]:
        """Loss and score among all classes for each batch; a score as high as the own class's is an error."""
        running = [RunningScores(targets) for _, targets in seen]
        for index in self.all_classes():
            for each, (features, _) in zip(running, seen, strict=True):
                each.add(index, self.scores_of(features, index))
        return [each.outcome() for each in running]

    def all_classes(self) -> Iterator[Int64[Tensor, " n"]]:
        """As many classes at a time as there are places, their rows in the heads."""
        for index in torch.split(torch.arange(self.classes, device=self.settled_at.device), self.places):
            self.fill(index)
            yield index

    def scores_of(self, features: Sequence[Tensor], index: Int64[Tensor, " n"]) -> Float[Tensor, "h b n"]:
        """Each head's scores for the classes whose rows it holds."""
        return torch.stack(self.network.scores(features)).float()[:, :, : len(index)]

    @torch.inference_mode()
    def answered(self, samples: Float[Tensor, "b 3 32 32"]) -> Int64[Tensor, " b"]:
        """The class with the highest score of the first head, of all classes."""
        features = self.network.read(samples)
        best = [(self.scores_of(features, index)[0].max(1), index) for index in self.all_classes()]
        part = torch.stack([found.values for found, _ in best]).argmax(0)
        return torch.stack([index[found.indices] for found, index in best]).gather(0, part[None])[0]

    def first_layers(self) -> list[Tensor]:
        """The network's."""
        return self.network.first_layers()

    def sharing(self, share: Share) -> AbstractContextManager[None]:
        """The network's; every process has all places, and their gradients are added up."""
        return self.network.sharing(share)

    def optimizer(self, settings: Settings) -> Optimizer:
        """The network's, with a decay of the heads that falls as 1 / classes beyond the release's number of them."""
        optimizer = self.network.optimizer(settings)
        for group in {id(group): group for group in (rows.group_of(each, optimizer) for each in self.heads)}.values():
            group["weight_decay"] *= min(1.0, FULL_DECAY_CLASSES / self.classes)
        return optimizer

    def rate_factor(self, progress: float) -> float:
        """The network's."""
        return self.network.rate_factor(progress)

    def finish(self) -> Encoder:
        """The network's encoder."""
        return self.network.finish()

    def get_extra_state(self) -> Tensor:
        """How many steps were done, which a state keeps beside the rows."""
        return torch.tensor(self.steps)

    def set_extra_state(self, state: Tensor) -> None:
        """Go on after so many steps."""
        self.steps = int(state)
