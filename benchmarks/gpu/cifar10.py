"""The medium network, learnt from CIFAR-10's training images in a few minutes, and its accuracy by both protocols.

The recipe is `fast`, with larger batches than those of params.yaml. The paper's network saw some 200 million samples of
seeds from STL-10.
"""

import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.gpu import networks
from benchmarks.gpu.session import Row, Session, Works, enough, measured
from benchmarks.measure import LackingError
from exemplar.datasets import batches
from exemplar.datasets.base import Labeled, load_images
from exemplar.datasets.fetching.archives import members
from exemplar.models.network import Encoder
from exemplar.models.saved import save_encoder
from exemplar.probe.protocol import Probe
from exemplar.surrogate import build, seeds, sets
from exemplar.surrogate.ranges import RELEASE
from exemplar.surrogate.sets import SurrogateSet
from exemplar.training.contract import Epoch
from exemplar.training.learner import Learner
from exemplar.training.loop import fit

RECIPE, BATCH, SAMPLES, SIDE = "fast", 512, 100, 64
RATE = 0.2  # of such batches; on a CPU better than 0.1, the rate of batches of 64, and no worse than 0.4 (docs/log.md)
SCALES, MOST_OVERLAP = (1.0, 0.8, 0.64, 0.512), 0.3  # as in params.yaml, and so are the numbers of the probes
FOLDS = Probe(
    side=64,
    cells=(2,),
    cell_weights=(1.0,),
    percentile=99.99,
    C_range=(1e-3, 1.0),
    C_draws=50,
    intercept_scaling=1.0,
    validation="other_folds",
)
PROBES = {"cifar10_400": FOLDS, "cifar10": replace(FOLDS, C_draws=30, validation="nested")}
PAPER = {"cifar10_400": 75.4, "cifar10": 82.2}  # Table 1, in percent
AT_LEAST, SECONDS_IN_ALL = {"cifar10_400": 74.0}, {"cifar10_400": 600.0}  # to reach
TRIAL_STEPS, QUICK_STEPS, MEAN_SAMPLES = 100, 5, 10
SECONDS_OF_PROBES = 150  # that training leaves of the time; nobody knows how long they take on a card


def works(session: Session) -> Works:
    """From the archive to two accuracies; raises LackingError without one."""
    if session.archive is None:
        raise LackingError("no archive of CIFAR-10 was named; --cifar10 names one")
    with TemporaryDirectory(prefix="exemplar-") as folder:
        learnt = Learnt(session, session.archive, Path(folder))
        yield "surrogate set", learnt.draw
        yield "training", learnt.train
        for name in PROBES:
            yield name, partial(learnt.measure, name)


class Learnt:
    """What one piece leaves for the next: the surrogate set and its mean, and then the encoder."""

    def __init__(self, session: Session, archive: Path, folder: Path) -> None:
        self.session, self.archive, self.folder = session, archive, folder
        self.data: SurrogateSet | None = None
        self.encoder: Encoder | None = None
        self.started = time.perf_counter()

    def draw(self) -> Iterator[Row]:
        """Seeds and their samples, of the training images at twice their size."""
        self.started, quick = time.perf_counter(), self.session.quick
        self.archive = unpacked(self.archive, self.folder / "batches")
        import_module("exemplar.datasets.cifar10").write_unlabeled(self.archive, self.folder, unlabeled_side=SIDE)
        images, count = load_images(self.folder), networks.classes(self.session)
        found = seeds.draw(images, count=count, scales=SCALES, most_overlap=MOST_OVERLAP, random_seed=0)
        built, _ = build.build(images, found, samples=1, ranges=RELEASE, random_seed=0)
        self.data = few(built, 4 if quick else SAMPLES).to(self.session.device)
        seconds = time.perf_counter() - self.started
        yield measured("CIFAR-10: reading, seeds and surrogate set", seconds, "s", classes=count)

    def train(self) -> Iterator[Row]:
        """As many samples as the minutes allow, at the rate of a short trial; the encoder lies beside the results."""
        if self.data is None:
            raise LackingError("there is no surrogate set")
        session, classes, started = self.session, len(self.data.label), time.perf_counter()
        batch, steps = (session.batch, QUICK_STEPS) if session.quick else (BATCH, TRIAL_STEPS)
        _, trial = self.begun(max(1, steps * batch // classes), batch, epochs=2)
        rate = [epoch.samples_per_second for epoch in trial][-1]
        seconds = min(60 * session.minutes, session.left - SECONDS_OF_PROBES)
        if seconds <= 0:
            raise LackingError(f"the probes may need the {session.left:.0f} seconds that are left")
        epochs, samples = plan(seconds * rate, classes=classes, samples=self.data.draws.samples)
        learner, training = self.begun(samples, batch, epochs=epochs)
        seen = 0
        for epoch in training:
            seen += classes * samples
            told = {"epochs": epochs, "loss": epoch.loss, "score": epoch.score, "samples_seen": seen}
            yield measured(f"CIFAR-10: epoch {epoch.epoch}", epoch.samples_per_second, "images/s", **told)
        self.encoder = learner.finish().cpu()
        save_encoder(self.encoder, session.out.with_suffix(".safetensors"))
        yield measured("CIFAR-10: training", time.perf_counter() - started, "s", samples_seen=seen, batch=batch)

    def begun(self, samples: int, batch: int, *, epochs: int) -> tuple[Learner, Iterator[Epoch]]:
        """A network with so many samples of each class to learn from, and its epochs, which are yet to come."""
        assert self.data is not None
        session, model = self.session, networks.models(self.session)[1]
        learner = networks.draw(RECIPE, model, len(self.data.label))
        mean = sets.measure_mean(few(self.data, MEAN_SAMPLES), device=session.device)
        for module in learner.modules():
            if isinstance(module, Encoder):
                module.mean.copy_(mean)
        settings = replace(networks.settings(RECIPE, batch, epochs), learning_rate=RATE)
        data = few(self.data, samples)

        def train() -> Iterator[Epoch]:
            with enough(f"{model} with batches of {batch}; lower BATCH in benchmarks/gpu/cifar10.py to {batch // 2}"):
                yield from fit(learner, data, settings, compute=session.compute, random_seed=0, label="benchmark")

        return learner, train()

    def measure(self, name: str) -> Iterator[Row]:
        """The accuracy of the SVMs, as the pipeline measures it."""
        if self.encoder is None:
            raise LackingError("there is no encoder")
        started, folder, probe = time.perf_counter(), self.folder / name, PROBES[name]
        folder.mkdir()
        import_module(f"exemplar.datasets.{name}").write_labeled(self.archive, folder, unlabeled_side=SIDE)
        if self.session.quick:
            probe = replace(probe, side=40, C_draws=2)
        found = probe.measure(self.encoder, Labeled.load(folder), random_seed=0, compute=self.session.exact)
        yield measured(
            f"{name}: accuracy",
            100 * float(np.mean(found.accuracy)),
            "%",
            at_least=AT_LEAST.get(name),
            spread_over_folds=100 * float(np.std(found.accuracy)),
            neighbours=100 * float(np.mean(found.knn_accuracy or 0)),
            paper=PAPER[name],
            seconds=time.perf_counter() - started,
        )
        seconds = time.perf_counter() - self.started
        yield measured(f"{name}: from the archive to the accuracy", seconds, "s", at_most=SECONDS_IN_ALL.get(name))


def unpacked(archive: Path, folder: Path) -> Path:
    """A folder with the archive's files, which three readers then need not decompress; a folder is one already."""
    if archive.is_dir():
        return archive
    folder.mkdir()
    for member in members(archive):
        if member.path.name in batches.FILES:
            with (folder / member.path.name).open("xb") as file:  # a second of that name is an error
                file.write(member.read(most_bytes=batches.MOST_BYTES))
    return folder


def few(data: SurrogateSet, samples: int) -> SurrogateSet:
    """The same classes with fewer samples of each."""
    return replace(data, draws=replace(data.draws, samples=samples))


def plan(total: float, *, classes: int, samples: int) -> tuple[int, int]:
    """Epochs, at least two, and samples of each class, that make about `total` together."""
    epochs = max(2, round(total / (classes * samples)))
    return epochs, min(samples, max(1, int(total / (classes * epochs))))
