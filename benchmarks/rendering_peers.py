"""The samples of a surrogate set by other libraries' functions, from the same windows and rows."""

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from benchmarks.measure import LackingError
from exemplar.datasets.base import PATCH_PIXELS
from exemplar.surrogate.sets import SurrogateSet


def pixel_matrices(data: SurrogateSet, indices: Tensor) -> Float[Tensor, "b 2 3"]:
    """For each sample the map from its pixels (column, row) to its window's, counted from the middle of the first."""
    seed = indices // data.draws.samples
    rows, centre, side = data.rows(indices), data.centre[seed], data.side[seed]
    angle, extent = torch.deg2rad(rows[:, 3]), side / rows[:, 2]
    turn = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], 1).view(-1, 2, 2)
    linear = turn * (extent / PATCH_PIXELS)[:, None, None]
    middle = linear.sum(2) * (PATCH_PIXELS - 1) / 2
    return torch.cat([linear, (centre + extent[:, None] * rows[:, :2] - middle - 0.5)[:, :, None]], 2)


def colour_matrices(data: SurrogateSet, rows: Float[Tensor, "b p"]) -> Float[Tensor, "b 3 3"]:
    """What multiplies each sample's colours, seen from their mean."""
    return torch.einsum("ik,bk,jk->bij", data.basis, rows[:, 4:7], data.basis)


def kornia_samples(data: SurrogateSet, indices: Tensor) -> Float[Tensor, "b 3 32 32"]:
    """The same samples by kornia's functions, whole batches too; what it has no function for is plain PyTorch."""
    try:
        import kornia
    except ImportError as error:
        raise LackingError(f"kornia cannot be imported ({error})") from None
    seed, rows = indices // data.draws.samples, data.rows(indices)
    numbers = rows[:, :, None, None].unbind(1)
    images = data.windows.index_select(0, data.window_index[seed]).float() / 255
    matrices = kornia.geometry.transform.invert_affine_transform(pixel_matrices(data, indices))
    size = (PATCH_PIXELS, PATCH_PIXELS)
    patches = kornia.geometry.transform.warp_affine(images, matrices, size, padding_mode="reflection")
    mean = data.colour_mean.view(3, 1, 1)
    mixed = torch.einsum("bij,bjhw->bihw", colour_matrices(data, rows), patches - mean)
    patches = (mixed + mean).clamp(0, 1)
    full = kornia.enhance.normalize_min_max(patches.flatten(1, 2)[:, None]).view_as(patches)
    patches = torch.lerp(patches, full, numbers[7][:, None])
    hue, saturation, value = kornia.color.rgb_to_hsv(patches).unbind(1)
    saturation = (saturation.clamp(0, 1).pow(numbers[8]) * numbers[9] + numbers[10]).clamp(0, 1)
    value = (value.clamp(0, 1).pow(numbers[11]) * numbers[12] + numbers[13]).clamp(0, 1)
    hue = (hue + 2 * torch.pi * numbers[14]).remainder(2 * torch.pi)
    samples: Tensor = kornia.color.hsv_to_rgb(torch.stack([hue, saturation, value], 1))
    return samples


def single_sample(
    window: UInt8[np.ndarray, "3 h w"],
    matrix: Float[np.ndarray, "2 3"],
    mixing: Float[np.ndarray, "3 3"],
    mean: Float[np.ndarray, " 3"],
    row: Float[np.ndarray, " p"],
) -> Float[np.ndarray, "32 32 3"]:
    """One sample by scikit-image's functions, as published pipelines make them one after the other."""
    from skimage.color import hsv2rgb, rgb2hsv
    from skimage.transform import AffineTransform, warp

    image = window.transpose(1, 2, 0) / 255
    place = AffineTransform(matrix=np.vstack([matrix, [0, 0, 1]]))  # type: ignore[no-untyped-call]  # no types
    patch = warp(image, place, output_shape=(PATCH_PIXELS, PATCH_PIXELS), order=1, mode="symmetric")  # type: ignore[no-untyped-call]  # no types
    patch = np.clip((patch - mean) @ mixing.T + mean, 0, 1)
    patch = (1 - row[7]) * patch + row[7] * (patch - patch.min()) / (patch.max() - patch.min())
    hsv = rgb2hsv(np.clip(patch, 0, 1))
    hsv[..., 0] = (hsv[..., 0] + row[14]) % 1
    hsv[..., 1] = np.clip(hsv[..., 1] ** row[8] * row[9] + row[10], 0, 1)
    hsv[..., 2] = np.clip(hsv[..., 2] ** row[11] * row[12] + row[13], 0, 1)
    found: np.ndarray = hsv2rgb(hsv)
    return found


def single_samples(data: SurrogateSet, indices: Tensor) -> Float[Tensor, "b 3 32 32"]:
    """The same samples, one after the other."""
    seed, rows = indices // data.draws.samples, data.rows(indices)
    matrices, mixing = pixel_matrices(data, indices).numpy(), colour_matrices(data, rows).numpy()
    windows, mean = data.windows.numpy(), data.colour_mean.numpy()
    found = [
        single_sample(windows[data.window_index[number]], matrix, mix, mean, numbers)
        for number, matrix, mix, numbers in zip(seed, matrices, mixing, rows.numpy(), strict=True)
    ]
    return torch.from_numpy(np.stack(found)).permute(0, 3, 1, 2)
