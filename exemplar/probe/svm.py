"""One-vs-all linear SVMs: all classes and many values of C together, on the device that the features are on.

For each class and each C this minimises liblinear's L2-regularised squared hinge (Fan et al. 2008, `-s 1` and `-s 2`),

    |w|^2 / 2  +  C * sum_i max(0, 1 - y_i w.x_i)^2,        y_i = 1 for samples of the class, -1 for all others,

where x_i ends in one more feature, the constant `intercept_scaling`, whose weight is regularised like all others.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn.functional import pad

from exemplar.errors import UserError, say

BLOCK = 4096  # rows or columns widened to float64 at a time, so that large features are never copied whole
PROBLEMS_AT_ONCE = 100  # products with 25,000 x 3,841 on two cores: 10 problems 35 GFLOP/s, 50 95, 100 120
ROUGH, CLOSE = 1e-2, 1e-6  # squared residuals of Newton systems; 1e-4 everywhere takes 1.6 times ROUGH's products
# Axes whose curvature is seen exactly: 3,030 x 3,030, 20 classes, C = 1: 9.0 s of conjugate gradients without, 3.7 with
# 32, 2.6 with 128. The ridge, on a unit diagonal, keeps what float32 rounds positive.
LEADING, RIDGE = 128, 1e-4
STEPS = 500  # a limit that only rounding reaches: 300 x 300 random numbers with C = 1e8 take 306 Newton steps
HALVINGS = 60


def fit_path(
    features: Float[Tensor, "n d"],
    labels: Int64[Tensor, " n"],
    *,
    classes: int,
    C_values: Sequence[float],
    intercept_scaling: float,
    tolerance: float,
) -> Float[Tensor, "C_values classes d+1"]:
    """Weights of the SVM of every class against all others, for each of `C_values`; the last weight is the intercept's.

    Each objective is above its minimum by at most the fraction `tolerance` of itself, which its duality gap proves.
    Raises UserError for features that are not finite, labels of one class only, and numbers that are not positive.
    """
    check(features, labels, classes, C_values, intercept_scaling=intercept_scaling, tolerance=tolerance)
    few = len(features) <= features.shape[1]
    samples, spectrum, unrotate = (rotate_few if few else rotate_many)(features, intercept_scaling)
    signs = torch.where(labels == torch.arange(classes, device=labels.device)[:, None], 1.0, -1.0).double()
    weights = features.new_empty(len(C_values), classes, features.shape[1] + 1)
    ascending = sorted(range(len(C_values)), key=lambda index: C_values[index])
    at_once = max(1, PROBLEMS_AT_ONCE // classes)
    solution = spectrum.new_zeros(classes, len(spectrum))
    for group in (ascending[first : first + at_once] for first in range(0, len(C_values), at_once)):
        C = spectrum.new_tensor([C_values[index] for index in group]).repeat_interleave(classes)[:, None]
        start = solution[-classes:].repeat(len(group), 1)  # the solution for the largest C so far is near
        solution = solve(samples, spectrum, signs.repeat(len(group), 1), C, start, tolerance)
        weights[group] = unrotate(solution).to(weights.dtype).reshape(len(group), classes, -1)
    return weights


def decide(
    weights: Float[Tensor, "*problems extended"], features: Float[Tensor, "n d"], intercept_scaling: float
) -> Float[Tensor, "*problems n"]:
    """Decision values of `fit_path`'s weights; the class with the largest is the prediction."""
    return weights[..., :-1] @ features.T + intercept_scaling * weights[..., -1:]


def check(features: Tensor, labels: Tensor, classes: int, C_values: Sequence[float], **positive: float) -> None:
    """Raise UserError for what no SVM can be fitted to."""
    for name, value in [*(("C", C) for C in C_values), *positive.items()]:
        if not 0 < value < float("inf"):
            raise UserError(f"{name} = {value}, expected a finite number above 0")
    finite = torch.cat([rows.isfinite().all(1) for rows in torch.split(features, BLOCK)])
    if not finite.all():
        raise UserError(f"features hold NaN or infinity in {int((~finite).sum())} samples, expected finite numbers")
    present = set(labels.tolist())
    if len(present) < 2:
        raise UserError(f"labels of {len(present)} class only, expected at least 2 classes")
    if outside := present - set(range(classes)):
        raise UserError(f"labels {sorted(outside)[:3]}, expected 0 to {classes - 1}")


Rotated = tuple[Float[Tensor, "n r"], Float[Tensor, " r"], Callable[[Tensor], Tensor]]
"""Samples with their intercept along principal axes, their squared lengths per axis, and weights' way back.

A linear model with this penalty is the same in all rotated axes, and its weights lie in the span of its samples. Along
principal axes the Newton systems are nearly diagonal, which is why a handful of conjugate gradients solves them.
"""


def rotate_few(features: Float[Tensor, "n d"], intercept_scaling: float) -> Rotated:
    """Rotate samples that are no more than their features into the n axes of their own span."""
    gram = features.new_full((len(features), len(features)), intercept_scaling**2, dtype=torch.float64)
    for columns in torch.split(features, BLOCK, dim=1):
        add_square(gram, columns.double())
    spectrum, axes = torch.linalg.eigh(gram)
    lengths = spectrum.clamp_min(len(gram) * torch.finfo(gram.dtype).eps * spectrum[-1]).sqrt()

    def unrotate(weights: Tensor) -> Tensor:
        dual = (weights / lengths) @ axes.T
        return torch.cat([matmul_float64(dual, features.T), intercept_scaling * row_sum(dual)], dim=1)

    return (axes * lengths).to(features.dtype), lengths.square(), unrotate


def rotate_many(features: Float[Tensor, "n d"], intercept_scaling: float) -> Rotated:
    """Rotate samples that are more than their features to their d+1 principal axes."""
    side = features.shape[1] + 1
    gram = features.new_zeros(side, side)  # in the features' precision: it chooses axes, and any axes are exact
    for rows in torch.split(features, BLOCK):
        add_square(gram, pad(rows, (0, 1), value=intercept_scaling).T)
    spectrum, axes = torch.linalg.eigh(gram.double())
    samples = features.new_empty(len(features), side)
    for rows, rotated in zip(torch.split(features, BLOCK), torch.split(samples, BLOCK), strict=True):
        rotated.copy_(pad(rows, (0, 1), value=intercept_scaling).double() @ axes)
    return samples, spectrum.clamp_min(0), lambda weights: weights @ axes.T


def add_square(gram: Float[Tensor, "m m"], factor: Float[Tensor, "m k"]) -> None:
    """Add factor @ factor.T to the lower triangle of `gram`: `eigh` reads no more, and 40 % of the time is saved."""
    for first in range(0, len(gram), 512):
        last = first + 512
        gram[first:last, :last].addmm_(factor[first:last], factor[:last].T)


def solve(
    samples: Float[Tensor, "n r"],
    spectrum: Float[Tensor, " r"],
    signs: Float[Tensor, "p n"],
    C: Float[Tensor, "p 1"],
    start: Float[Tensor, "p r"],
    tolerance: float,
) -> Float[Tensor, "p r"]:
    """Newton's method with a line search for all p problems side by side; each leaves when its duality gap is small.

    A problem that once needed a shorter step solves its systems closely from then on: nearly separable classes with a
    large C would otherwise creep (C = 10,000 on 300 x 300 random numbers: 146 steps instead of 633). A problem that is
    not solved after STEPS steps keeps its last weights, its best: no step raises the objective.
    """
    solution, violations = start.clone(), 1 - signs * matmul_float64(start, samples)
    unsolved, residuals = torch.arange(len(start), device=start.device), torch.full_like(C, ROUGH)
    for _ in range(STEPS):
        weights, violation, sign, penalty, residual = (x[unsolved] for x in (solution, violations, signs, C, residuals))
        hinge = violation.clamp_min(0)
        gradient = weights - 2 * penalty * dual_to_primal(sign * hinge, samples)
        gap = row_sum(gradient.square()) / 2  # exactly the duality gap: the dual point is 2 C hinge
        objective = row_sum(weights.square()) / 2 + penalty * row_sum(hinge.square())
        above = ~(gap <= tolerance * objective).flatten()  # so that NaN is never taken for solved
        if not above.any():
            return solution
        still = (unsolved, weights, violation, sign, penalty, residual, gradient)
        unsolved, weights, violation, sign, penalty, residual, gradient = (each[above] for each in still)
        direction = newton_direction(samples, spectrum, violation > 0, penalty, gradient, residual)
        change = -sign * matmul_float64(direction, samples)
        step = step_length(weights, direction, violation, change, penalty, slope=row_sum(gradient * direction))
        solution[unsolved], violations[unsolved] = weights + step * direction, violation + step * change
        residuals[unsolved] = torch.where(step < 1, CLOSE, residual)
    stuck = f"{len(unsolved)} of {len(C)} SVMs, C up to {float(penalty.max()):g}, are not within {tolerance:g} of their"
    say(f"warning: {stuck} optimum after {STEPS} Newton steps; their last weights are used")
    return solution


def newton_direction(
    samples: Float[Tensor, "n r"],
    spectrum: Float[Tensor, " r"],
    active: Bool[Tensor, "p n"],
    C: Float[Tensor, "p 1"],
    gradient: Float[Tensor, "p r"],
    residual: Float[Tensor, "p 1"],
) -> Float[Tensor, "p r"]:
    """Solve each problem's Newton system to its squared residual, by conjugate gradients in the samples' precision.

    The preconditioner takes the active samples to be spread like all, but along the leading axes it sees them. The true
    diagonal took up to 2.7 times the steps of the spread. Converged problems are dropped from the batch.
    """
    curvature = (2 * C * active).to(samples.dtype)
    scale = (1 + 2 * C * active.double().mean(1, keepdim=True) * spectrum).to(samples.dtype)
    inverse = invert_leading(samples[:, -LEADING:], active, 2 * C.to(samples.dtype))
    unsolved, direction, error = torch.arange(len(C), device=C.device), torch.zeros_like(scale), -gradient.to(scale)
    search = precondition(error, scale, inverse)
    size = row_sum(error * search)
    enough = residual * size
    tiny = torch.finfo(samples.dtype).tiny  # a problem solved to the last bit stands still beside the others
    for _ in range(STEPS):
        bent = search + (search @ samples.T * curvature) @ samples
        step = size / row_sum(search * bent).clamp_min(tiny)
        direction[unsolved] += step * search
        error = error - step * bent
        preconditioned = precondition(error, scale, inverse)
        before, size = size, row_sum(error * preconditioned)
        search = preconditioned + size / before.clamp_min(tiny) * search
        above = (size > enough).flatten()
        if not above.any():
            break
        unsolved, curvature, scale, inverse, error, search, size, enough = (
            each[above] for each in (unsolved, curvature, scale, inverse, error, search, size, enough)
        )
    return direction.double()


def invert_leading(
    leading: Float[Tensor, "n k"], active: Bool[Tensor, "p n"], twice_C: Float[Tensor, "p 1"]
) -> Float[Tensor, "p k k"]:
    """The inverse of each problem's Newton matrix among the leading axes, as near as a preconditioner needs it."""
    unit = torch.eye(leading.shape[1], device=leading.device, dtype=leading.dtype)
    blocks = torch.stack([leading[rows].T @ leading[rows] for rows in active]) * twice_C[:, :, None] + unit
    width = blocks.diagonal(dim1=1, dim2=2).rsqrt()
    widths = width[:, :, None] * width[:, None]
    return torch.cholesky_inverse(torch.linalg.cholesky(blocks * widths + RIDGE * unit)) * widths


def precondition(
    error: Float[Tensor, "p r"], scale: Float[Tensor, "p r"], inverse: Float[Tensor, "p k k"]
) -> Float[Tensor, "p r"]:
    """Apply the preconditioner: the inverse among the leading axes, which come last, and the scale along all others."""
    first = error.shape[1] - inverse.shape[1]
    return torch.cat([error[:, :first] / scale[:, :first], (inverse @ error[:, first:, None])[:, :, 0]], 1)


def step_length(
    weights: Tensor, direction: Tensor, violation: Tensor, change: Tensor, C: Tensor, *, slope: Tensor
) -> Float[Tensor, "p 1"]:
    """Halve each problem's step, from 1, until its objective falls by a ten-thousandth of what its slope promises."""
    step = torch.ones_like(slope)
    for _ in range(HALVINGS):
        squares = (violation + step * change).clamp_min(0).square() - violation.clamp_min(0).square()
        rise = (
            step * row_sum(weights * direction) + step.square() / 2 * row_sum(direction.square()) + C * row_sum(squares)
        )
        if not (short := rise > 1e-4 * step * slope).any():
            break
        step = torch.where(short, step / 2, step)
    return step


def matmul_float64(weights: Float[Tensor, "p r"], samples: Float[Tensor, "n r"]) -> Float[Tensor, "p n"]:
    """Compute weights @ samples.T in float64, block by block."""
    return torch.cat([weights @ rows.double().T for rows in torch.split(samples, BLOCK)], dim=1)


def dual_to_primal(dual: Float[Tensor, "p n"], samples: Float[Tensor, "n r"]) -> Float[Tensor, "p r"]:
    """Compute dual @ samples in float64, block by block."""
    gathered = dual.new_zeros(len(dual), samples.shape[1])
    for columns, rows in zip(torch.split(dual, BLOCK, dim=1), torch.split(samples, BLOCK), strict=True):
        gathered.addmm_(columns, rows.double())
    return gathered


def row_sum(values: Float[Tensor, "p m"]) -> Float[Tensor, "p 1"]:
    """Sum over each problem's row."""
    return values.sum(1, keepdim=True)
