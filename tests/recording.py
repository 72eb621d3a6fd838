"""A CUDA graph for tensors of the CPU: what a capture notes, a replay does, in the same order and on the same tensors.

It keeps what makes a graph treacherous. A capture changes nothing; numbers of the host are those of the capture for
ever; results lie where they lay then; to read a number of the device is an error.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

Operation = tuple[Any, tuple[Any, ...], dict[str, Any], list[Tensor]]


def tensors(things: object) -> list[Tensor]:
    """All in a nest of lists and dictionaries."""
    return [each for each in tree_leaves(things) if isinstance(each, Tensor)]


def place(tensor: Tensor) -> int:
    """Where its storage lies."""
    return tensor.untyped_storage().data_ptr()


class Tape(TorchDispatchMode):
    """Notes the operations of its block, each with what it was given and gave; afterwards nothing has changed.

    `before` has the storages that are older than the block, with what they held.
    """

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[Operation] = []
        self.before: dict[int, tuple[torch.UntypedStorage, torch.UntypedStorage]] = {}
        self.new: set[int] = set()

    def __enter__(self) -> "Tape":
        self.dice = torch.get_rng_state()
        super().__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        for storage, held in self.before.values():
            storage.copy_(held)
        torch.set_rng_state(self.dice)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = tensors((args, kwargs))
        if func.namespace == "profiler" or (given and all(each.shape == self.dice.shape for each in given)):
            return func(*args, **(kwargs or {}))  # the host compares its generator's states
        for tensor in given:
            if place(tensor) not in self.new:
                storage = tensor.untyped_storage()
                self.before.setdefault(place(tensor), (storage, storage.clone()))
        result = func(*args, **(kwargs or {}))
        if not isinstance(result, (Tensor, tuple, list, type(None))):
            raise RuntimeError(f"{func} would read a number of the device")
        fresh = [tensor for tensor in tensors(result) if place(tensor) not in {place(each) for each in given}]
        self.new |= {place(tensor) for tensor in fresh} - self.before.keys()
        self.operations.append((func, args, kwargs or {}, fresh))
        return result

    @torch.no_grad()
    def replay(self) -> None:
        """Do all of it again."""
        for func, args, kwargs, fresh in self.operations:
            given = {place(each) for each in tensors((args, kwargs))}
            result = [tensor for tensor in tensors(func(*args, **kwargs)) if place(tensor) not in given]
            for old, new in zip(fresh, result, strict=True):
                old.copy_(new)


class StoppedError(Exception):
    """What ends a training between two steps."""


class Recorder:
    """A `capture` for the CPU that counts what it does, and ends the training in the place of a replay too many."""

    def __init__(self, most: int | None = None) -> None:
        self.captures, self.replays, self.most = 0, 0, most

    def __call__(self, work: Callable[[], None]) -> Callable[[], None]:
        """Note the work, as a CUDA graph does."""
        with Tape() as tape:
            work()
        self.captures += 1
        return lambda: self.again(tape.replay)

    def again(self, replay: Callable[[], None]) -> None:
        """One more replay."""
        if self.replays == self.most:
            raise StoppedError
        self.replays += 1
        replay()


class Watcher(Recorder):
    """Does every step as it is, and sees that no tensor is gone by then that a captured one would go on using."""

    def __call__(self, work: Callable[[], None]) -> Callable[[], None]:
        """Note which storages are older than the capture, and hold none of them."""
        with Tape() as tape:
            work()
        self.older = [StorageWeakRef(storage) for storage, _ in tape.before.values()]
        tape.operations.clear(), tape.before.clear()
        self.captures += 1

        def look() -> None:
            assert not any(storage.expired() for storage in self.older), "a tensor of the capture is gone"
            work()

        return lambda: self.again(look)


def refuse(_: Callable[[], None]) -> Callable[[], None]:
    """A `capture` that always fails."""
    raise RuntimeError("operation not permitted when stream is capturing")
