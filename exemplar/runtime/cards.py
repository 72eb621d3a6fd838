"""The GPUs of this machine: which of them this build of PyTorch has kernels for, and what memory is free on one."""

import re
import warnings
from collections.abc import Sequence

import torch


def usable_gpus() -> dict[int, str]:
    """The number of each visible GPU that this build has kernels for, and what tells it from all others.

    That is the same also where CUDA_VISIBLE_DEVICES counts them anew.
    """
    with warnings.catch_warnings(action="ignore"):  # what PyTorch warns of is told by `lack_of_cuda`
        if not torch.cuda.is_available():
            return {}
        numbers, built_for = range(torch.cuda.device_count()), torch.cuda.get_arch_list()
        usable = [number for number in numbers if has_kernels(torch.cuda.get_device_capability(number), built_for)]
    return {number: str(torch.cuda.get_device_properties(number).uuid) for number in usable}


def lack_of_kernels() -> str:
    """Which GPUs are there, and which architectures the build has kernels for."""
    cards = []
    for number in range(torch.cuda.device_count()):
        major, minor = torch.cuda.get_device_capability(number)
        cards.append(f"the {torch.cuda.get_device_name(number)}, which is sm_{major}{minor}")
    return f"it has kernels for {', '.join(torch.cuda.get_arch_list())}, and none for {' and '.join(cards)}"


def has_kernels(capability: tuple[int, int], built_for: Sequence[str]) -> bool:
    """Whether a build for these architectures runs on a card of this capability: `sm_80` on 8.0, 8.6 and 8.9.

    From `compute_80` the driver makes kernels for every later card. What ends in a letter is for one card (a) or its
    family (f). A list without any, as for cards of other makers, says nothing.
    """
    known = [matched for name in built_for if (matched := re.fullmatch(r"(sm|compute)_(\d+)(\d)([af]?)", name))]
    for kind, major, minor, suffix in (matched.groups() for matched in known):
        least = (int(major), int(minor))
        is_of_its_generation = capability[0] == least[0] or (kind == "compute" and not suffix)
        if capability == least or (capability > least and is_of_its_generation and suffix != "a"):
            return True
    return not known


def free_on_cuda(device: torch.device) -> int:
    """The bytes of a GPU that nobody has taken yet, or that PyTorch keeps for the next tensors of this process."""
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(torch.cuda.mem_get_info(device)[0]) + kept
