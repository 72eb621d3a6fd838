"""Images a second: rendering alone, the bare step on tensors that are ready, training, features; and the SVMs' time.

The library asks cuDNN for repeatable kernels. What it would be without that stands beside it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache, partial
from itertools import cycle

import torch

from benchmarks import material, svms
from benchmarks.gpu import heads, networks
from benchmarks.gpu.ceilings import reach
from benchmarks.gpu.session import Row, Session, Work, Works, enough, measured
from exemplar.methods.exemplar import RECIPES
from exemplar.probe import features, svm
from exemplar.surrogate import fused
from exemplar.surrogate.sets import Batch, SurrogateSet
from exemplar.training.captured import Capture
from exemplar.training.loop import fit

PAPERS_BATCH = 128
WINDOWS, SAMPLES = 2000, 50
EPOCHS, EPOCH_SECONDS = 3, 1.0
READY = 4  # batches that were rendered
DRAWN = 64  # batches of indices: their windows fill no cache
CELLS = (2,)
PROBES = {
    "STL-10, one fold, 50 C": (1000, 2e-4, 2e-1, 50, 5.0),
    "CIFAR-10, one half, 30 C": (25_000, 1e-3, 1.0, 30, 1.0),
}
WIDTH = 3840
RENDERED, SHARE, OF_BARE, OF_CEILING = 2e6, 0.1, 0.9, 0.35  # to reach; the last by the medium network in bfloat16
Data = Callable[[], SurrogateSet]  # made by who needs it first


def works(session: Session) -> Works:
    """Rendering, the networks one after another, the heads, the SVMs."""
    data = cache(lambda: surrogate(session).to(session.device))
    for batch in rendered_batches(session):
        yield f"rendering, {batch}", partial(rendering, session, data, batch)
    for model in networks.models(session)[: 1 if session.quick else None]:
        for recipe in RECIPES:
            for batch in batches(session):
                yield f"{model}, {recipe}, {batch}", partial(training, session, data, recipe, model, batch)
        yield f"features of {model}", partial(feature_rate, session, model)
    yield "filters in eights", partial(padding, session, data)
    yield from heads.works(session)
    for name in PROBES:
        yield name, partial(probe, session, name)


def batches(session: Session) -> list[int]:
    """The paper's, and the one that was asked for."""
    return list(dict.fromkeys((8 if session.quick else PAPERS_BATCH, session.batch)))


def rendered_batches(session: Session) -> list[int]:
    """Those, and larger ones, in which launches take no time."""
    return [*batches(session), 4 * session.batch, 16 * session.batch]


def surrogate(session: Session, windows: int = WINDOWS) -> SurrogateSet:
    """As many classes as in the published trainings, out of windows that repeat, because to draw all takes longer."""
    classes = networks.classes(session)
    built = material.surrogate_set(min(windows, classes), 4 if session.quick else SAMPLES)
    times = classes // len(built.label)
    return replace(
        built,
        windows=built.windows.repeat(times, 1, 1, 1),
        window_index=torch.arange(classes),
        label=torch.arange(classes),
        centre=built.centre.repeat(times, 1),
        side=built.side.repeat(times),
    )


def drawn(data: SurrogateSet, batch: int, *, count: int) -> list[torch.Tensor]:
    """Indices of any samples, on the data's device."""
    indices = torch.randint(len(data), (count, batch), generator=torch.Generator().manual_seed(0))
    return list(indices.to(data.label.device))


def rendering_seconds(session: Session, data: SurrogateSet, batch: int) -> float:
    """Of a batch, each of other samples than the one before."""
    following = cycle(drawn(data, batch, count=2 if session.quick else DRAWN))
    return session.seconds(lambda: data.render(next(following)))


def rendering(session: Session, data: Data, batch: int) -> Iterator[Row]:
    """As the library renders, and by PyTorch's operations alone, which it takes where the kernels fail."""
    with enough(f"rendering batches of {batch}: lower --batch from {session.batch} to {session.batch // 2}"):
        seconds, peak = rendering_seconds(session, data(), batch), session.peak()
        with plainly():
            plain = rendering_seconds(session, data(), batch)
    told = {"milliseconds": 1e3 * seconds, "peak_GB": peak, "by_kernels": by_kernels(session)}
    name, told["times_the_plain_one"] = f"batches of {batch}", plain / seconds
    yield measured(f"rendering, {name}", batch / seconds, "samples/s", at_least=RENDERED, **told)
    yield measured(f"rendering by PyTorch's operations, {name}", batch / plain, "samples/s", milliseconds=1e3 * plain)


@contextmanager
def plainly() -> Iterator[None]:
    """In the block PyTorch's operations render, as where no kernel is known to work."""
    devices, fused.DEVICES = fused.DEVICES, ()
    try:
        yield
    finally:
        fused.DEVICES = devices


def by_kernels(session: Session) -> bool:
    """Whether the library renders with its kernels here."""
    return fused.wanted() and session.device.type in fused.DEVICES and not fused.failed


def training(session: Session, data: Data, recipe: str, model: str, batch: int) -> Iterator[Row]:
    """The bare step in its two ways, the library's epochs, and what these are of other rates."""
    name = f"{model}, {recipe}, batches of {batch}"
    with enough(advice(session, model, batch)):
        step = bare_step(session, data(), recipe, model, batch)
        bare = rate(session, batch / session.seconds(step), f"bare step, {name}", recipe, model, batch)
        yield bare
        if batch == session.batch:
            free = f"bare step, cuDNN free to choose, {name}"
            yield rate(session, batch / session.seconds(freely(step)), free, recipe, model, batch)
        del step
        session.release()
        best = library(session, data(), recipe, model, batch, least=bare["value"])
        yield rate(session, best, f"training, {name}", recipe, model, batch)
        share = rendering_seconds(session, data(), batch) * best / batch
    yield measured(f"training against the bare step, {name}", best / bare["value"], "x", at_least=OF_BARE)
    yield measured(f"rendering's share of a step of training, {name}", share, "share", at_most=SHARE)
    precision = str(session.compute.precision).removeprefix("torch.")
    of_ceiling = (
        best * networks.operations(recipe, model, networks.classes(session))[0] / 1e12 / reach(session, precision)
    )
    least = OF_CEILING if model == networks.MEDIUM and precision == "bfloat16" else None
    share_of = f"share of the matrix product's rate in {precision}, training, {name}"
    yield measured(share_of, of_ceiling, "share", at_least=least, ceiling_TFLOP_a_second=session.ceilings[precision])


def padding(session: Session, data: Data) -> Iterator[Row]:
    """The bare step with 96 filters in the first layer against that with 92: what padding could bring at most.

    More operations that take less time would be a reason to fill up the weights with zeros.
    """
    recipe, usual, filled = next(iter(RECIPES)), networks.models(session)[-1], networks.in_eights(session)
    seconds = {}
    for model in (usual, filled):
        with enough(advice(session, model, session.batch)):
            seconds[model] = session.seconds(bare_step(session, data(), recipe, model, session.batch))
        session.release()
    counted = [networks.operations(recipe, model, networks.classes(session))[0] for model in (filled, usual)]
    yield measured(
        f"bare step of {filled} against {usual}, {recipe}, batches of {session.batch}: time of a sample",
        seconds[filled] / seconds[usual],
        "x",
        microseconds_a_sample=1e6 * seconds[filled] / session.batch,
        microseconds_a_sample_of_the_other=1e6 * seconds[usual] / session.batch,
        operations_against_the_other=counted[0] / counted[1],
    )


def advice(session: Session, model: str, batch: int) -> str:
    """What to do where a step finds no room."""
    if batch != session.batch:
        return f"{model} with batches of {batch}, the paper's; end what else takes memory there"
    return f"{model} with batches of {batch}; lower --batch from {batch} to {batch // 2}"


def rate(session: Session, images: float, name: str, recipe: str, model: str, batch: int) -> Row:
    """Images a second, and the operations that they are; those of the optimizer are told apart."""
    operations, of_optimizer = networks.operations(recipe, model, networks.classes(session))
    return measured(
        name,
        images,
        "images/s",
        milliseconds=1e3 * batch / images,
        GFLOP_an_image=operations / 1e9,
        TFLOP_a_second=operations * images / 1e12,
        GFLOP_of_the_optimizer_a_step=of_optimizer / 1e9,
        peak_GB=session.peak(),
    )


def bare_step(session: Session, data: SurrogateSet, recipe: str, model: str, batch: int) -> Work:
    """A step on the next of some batches that are ready."""
    state = networks.begun(recipe, model, networks.classes(session), device=session.device, batch=batch)
    state.model.begin(data)
    following = cycle([in_layout(data.render(indices)) for indices in drawn(data, batch, count=READY)])
    return lambda: networks.step(state, next(following), session.compute)


def in_layout(batch: Batch) -> Batch:
    """Samples in the order of dimensions that the network works in."""
    return batch[0].contiguous(memory_format=torch.channels_last), batch[1]


def freely(work: Work) -> Work:
    """The work with cuDNN's fastest kernels, repeatable or not."""

    def run() -> object:
        with torch.backends.cudnn.flags(enabled=True, benchmark=True, deterministic=False, allow_tf32=False):
            return work()

    return run


def library(
    session: Session,
    data: SurrogateSet,
    recipe: str,
    model: str,
    batch: int,
    *,
    least: float,
    capture: Capture | None = None,
) -> float:
    """Images a second in the best of some epochs but the first, each of a sample a class or more.

    They last a second at the bare step's rate.
    """
    samples = int(min(max(EPOCH_SECONDS * least / len(data.label), 1), data.draws.samples))
    few = replace(data, draws=replace(data.draws, samples=1 if session.quick else samples), held_out=0)
    method, settings = networks.draw(recipe, model, networks.classes(session)), networks.settings(recipe, batch, EPOCHS)
    epochs = list(
        fit(method, few, settings, compute=session.compute, random_seed=0, label="benchmark", capture=capture)
    )
    return max(epoch.samples_per_second for epoch in epochs[1:])


def feature_rate(session: Session, model: str) -> Iterator[Row]:
    """From bytes of 96 x 96 pixels in memory to pooled features in memory, in float32."""
    images = material.draw_images(4 if session.quick else 4096, random_seed=0)
    encoder = networks.draw("release", model, 2).finish()
    with enough(f"features of {model} need a card that no other process uses"):
        work = partial(features.measure, encoder, images, side=material.SIDE, cells=CELLS, compute=session.exact)
        seconds = session.seconds(work)
    yield measured(f"features of {model}", len(images) / seconds, "images/s", peak_GB=session.peak())


def probe(session: Session, name: str) -> Iterator[Row]:
    """All classes and all values of C on generated features of 3,840 columns, once."""
    count, low, high, number, scaling = PROBES[name]
    count, width = (60, 40) if session.quick else (count, WIDTH)
    problem = svms.draw(count, width, 10, costs=svms.costs(low, high, number), intercept_scaling=scaling)
    there = svms.on_device(problem, session.device)
    small = svms.on_device(svms.draw(60, 40, 10, costs=[0.1], intercept_scaling=1.0), session.device)
    small.solve()  # starts the linear algebra's libraries
    at_once = svm.PROBLEMS_AT_ONCE
    with enough(f"{name}: lower PROBLEMS_AT_ONCE in exemplar/probe/svm.py from {at_once} to {at_once // 4}"):
        seconds = session.seconds_of(there.solve, 1)
        with svms.Counted() as counted:  # another time, since counting takes time
            there.solve()
    told = {f"TFLOP_in_{kind}".replace("torch.", ""): count / 1e12 for kind, count in counted.operations.items()}
    yield measured(f"SVMs: {name}, {count} x {width}", seconds, "s", **told)
