"""All that a training goes on from: network, optimizer, records, and what a begun epoch has done."""

import time
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from exemplar.training.contract import Epoch, Settings
from exemplar.training.learner import Learner, Outcome


class EpochProgress:
    """Progress inside an epoch: batches done, their sums and time, the random generators' states at the last save."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.steps = device, 0
        self.loss_sum, self.score = torch.zeros((), device=device), torch.zeros((), device=device)
        self.sums: dict[str, Tensor] = {}
        self.seconds_before, self.started = 0.0, time.monotonic()
        self.rng_states: list[Tensor] = []

    def restore_rng(self) -> None:
        """Start the clock, and draw on from the states of the random generators that were restored."""
        self.started = time.monotonic()
        if self.rng_states:
            torch.set_rng_state(self.rng_states[0])
            if self.device.type == "cuda":
                torch.cuda.set_rng_state(self.rng_states[1], self.device)

    def add(self, outcome: Outcome, *, rows: int) -> None:
        """Count a batch of so many rows."""
        self.steps += 1
        self.loss_sum += outcome.loss * rows
        self.score += outcome.score
        for name, value in outcome.sums.items():
            self.sums[name] = self.sums.get(name, 0) + value.detach()

    def seconds(self) -> float:
        """The time that went into it, in this process and in those before."""
        return self.seconds_before + time.monotonic() - self.started

    def state_dict(self) -> dict[str, Any]:
        """All of it, for a state."""
        on_cuda = self.device.type == "cuda"
        rng_states = [torch.get_rng_state(), *([torch.cuda.get_rng_state(self.device)] if on_cuda else [])]
        sums = {"loss_sum": self.loss_sum, "score": self.score, "sums": self.sums}
        return {**sums, "steps": self.steps, "seconds": self.seconds(), "rng_states": rng_states}

    def load_state_dict(self, content: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave; call `restore_rng` before anything is drawn."""
        self.loss_sum, self.score = (content[name].to(self.device) for name in ("loss_sum", "score"))
        self.sums = {name: value.to(self.device) for name, value in content["sums"].items()}
        self.steps, self.seconds_before = content["steps"], content["seconds"]
        self.rng_states = content["rng_states"] if self.steps else []


class TrainState:
    """All that goes on from one step to the next; saved whole.

    Where steps are captured the learning rates are tensors on the device: a captured step would keep a number as it
    was. So they are on a GPU without a capture, for the same arithmetic, where the optimizer reads them there.
    """

    def __init__(self, model: Learner, settings: Settings, *, captured: bool = False) -> None:
        self.model, self.optimizer = model, model.optimizer(settings)
        self.epochs: list[Epoch] = []
        device = next(model.parameters()).device
        self.progress = EpochProgress(device)
        self.rates, self.factor = [group["lr"] for group in self.optimizer.param_groups], 1.0
        self.rates_there: tuple[Tensor, Tensor] | None = None
        if captured or (device.type == "cuda" and not model.on_host and reads_there(self.optimizer)):
            self.move_rates(device)

    def move_rates(self, device: torch.device) -> None:
        """Let the groups have tensors for learning rates, which stay where they are."""
        full = torch.tensor(self.rates, dtype=torch.float64, device=device)
        self.rates_there = full, full.float()
        for group, rate in zip(self.optimizer.param_groups, self.rates_there[1], strict=True):
            group["lr"] = rate

    def set_rate(self, progress: float) -> None:
        """Set every group's learning rate for this share of the whole training."""
        self.factor = self.model.rate_factor(progress)
        if self.rates_there:
            full, now = self.rates_there
            torch.mul(full, self.factor, out=now)
        else:
            for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
                group["lr"] = rate * self.factor

    def end_epoch(self, record: Epoch) -> None:
        """Keep the record; the next epoch begins with nothing done."""
        self.epochs.append(record)
        self.progress = EpochProgress(self.progress.device)

    def state_dict(self) -> dict[str, Any]:
        """Weights, momenta, records and the begun epoch; the same on every device."""
        optimizer = self.optimizer.state_dict()
        for group, rate in zip(optimizer["param_groups"], self.rates, strict=True):
            group["lr"] = rate * self.factor
        return {
            "model": self.model.state_dict(),
            "optimizer": optimizer,
            "epochs": [asdict(epoch) for epoch in self.epochs],
            "part": self.progress.state_dict(),
        }

    def load_state_dict(self, content: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        self.model.load_state_dict(content["model"])
        # Copies, because a tensor that is mapped would keep its file on the disk when another state has its name.
        content = deepcopy({name: value for name, value in content.items() if name != "model"})
        own = [dict(group) for group in self.optimizer.param_groups]  # rates and kernels of this device
        self.optimizer.load_state_dict(content["optimizer"])
        for group, ours in zip(self.optimizer.param_groups, own, strict=True):
            group.update(ours)
        self.progress.load_state_dict(content["part"])
        self.epochs[:] = [Epoch(**epoch) for epoch in content["epochs"]]


def reads_there(optimizer: Optimizer) -> bool:
    """Whether a rate that is a tensor is read on its device, as every group says by `fused` or `capturable`.

    Other optimizers of PyTorch would bring it back to the host in every step.
    """
    return all(group.get("fused") or group.get("capturable") for group in optimizer.param_groups)
