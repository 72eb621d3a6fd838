"""How sure an accuracy is, or a difference of two on the same test images: intervals that fit folds and test images.

Folds have training images of their own, and often one test set; so answers of one fold are alike, and answers about one
image are. The standard error is clustered both ways (Cameron, Gelbach & Miller 2011, Journal of Business & Economic
Statistics 29, eq. 2.11): the variance between folds plus that between images minus that of single answers, which both
contain. Student's t has Satterthwaite's degrees of freedom, because three folds say little about a spread. Random seeds
of training are not in it: `random_seeds.py` pools those.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.special import stdtrit

from exemplar.datasets.evaluation import Evaluation

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean and half the width of its 95 % interval."""

    mean: float
    margin: float

    @property
    def low(self) -> float:
        """Its lower end."""
        return self.mean - self.margin

    @property
    def high(self) -> float:
        """Its upper end."""
        return self.mean + self.margin

    @property
    def is_shown(self) -> bool:
        """Whether the interval leaves out 0: as a difference, it is one."""
        return self.low > 0 or self.high < 0


def of_accuracy(record: Evaluation) -> Interval:
    """The accuracy of a row of the comparison."""
    return interval(record.right())


def of_difference(record: Evaluation, other: Evaluation) -> Interval:
    """How much more accurate one row is than another of the same dataset, image by image and fold by fold."""
    return interval(record.right() - other.right())


def interval(values: Float[np.ndarray, "folds images"]) -> Interval:
    """The mean of a number per fold and test image, NaN where a fold does not test an image, with its interval."""
    counted = np.isfinite(values)
    total = int(counted.sum())
    mean = float(values[counted].mean())
    left = np.where(counted, values - mean, 0.0)
    folds, images = variance(left.sum(1), total), variance(left.sum(0), total)
    both = max(folds + images - variance(left[counted], total), folds, images)
    if both == 0:
        return Interval(mean, 0.0)
    parts = [(folds, len(left)), (images, left.shape[1])]
    degrees = both**2 / sum(part**2 / (count - 1) for part, count in parts if part)
    return Interval(mean, float(stdtrit(degrees, 0.5 + CONFIDENCE / 2)) * math.sqrt(both))


def variance(sums: Float[np.ndarray, " clusters"], total: int) -> float:
    """The variance of a mean of `total` numbers in clusters, from their sums; 0 for one cluster."""
    if len(sums) < 2:
        return 0.0
    return float(len(sums) / (len(sums) - 1) * (sums**2).sum()) / total**2


def span(mean: float, margin: float) -> str:
    """`56.4 to 64.2` for 0.603 and 0.039, an interval within 0 to 100 %."""
    return f"{100 * max(0, mean - margin):.1f} to {100 * min(1, mean + margin):.1f}"
