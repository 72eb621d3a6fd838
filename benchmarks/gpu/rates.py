"""Images a second: rendering alone, the bare step on tensors that are ready, training, features; and the SVMs' time.

The library asks cuDNN for repeatable kernels. What it would be without that, with the bare step captured as a CUDA
graph, and with the rendering compiled, stands beside it; these two may fail and cost no other row.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import cycle

import torch

from benchmarks import material, svms
from benchmarks.gpu import networks
from benchmarks.gpu.session import Row, Session, Work, Works, measured, optional
from exemplar.errors import UserError
from exemplar.methods.exemplar import RECIPES
from exemplar.probe import features, svm
from exemplar.runtime.device import enough_memory
from exemplar.surrogate.sets import Batch, SurrogateSet
from exemplar.training.loop import fit

PAPERS_BATCH = 128
WINDOWS, SAMPLES = 2000, 50
EPOCHS, EPOCH_SECONDS = 3, 1.0
READY = 4  # batches
CELLS = (2,)
PROBES = {
    "STL-10, one fold, 50 C": (1000, 2e-4, 2e-1, 50, 5.0),
    "CIFAR-10, one half, 30 C": (25_000, 1e-3, 1.0, 30, 1.0),
}
WIDTH = 3840


def works(session: Session) -> Works:
    """Rendering, the networks one after another, the SVMs."""
    there = surrogate(session).to(session.device)
    batches = (8, 16) if session.quick else (PAPERS_BATCH, session.batch)
    yield "rendering", partial(rendering, session, there, batches)
    yield (
        "rendering, compiled",
        partial(optional, "rendering, compiled", partial(compiled, session, there, batches[-1])),
    )
    for model in networks.models(session)[: 1 if session.quick else None]:
        for recipe in RECIPES:
            for batch in batches:
                yield f"{model}, {recipe}, {batch}", partial(training, session, there, recipe, model, batch)
        yield f"features of {model}", partial(feature_rate, session, model)
    for name in PROBES:
        yield name, partial(probe, session, name)


def surrogate(session: Session) -> SurrogateSet:
    """As many classes as in the published trainings, several out of one window, because to draw all takes longer."""
    classes = networks.classes(session)
    built = material.surrogate_set(min(WINDOWS, classes), 4 if session.quick else SAMPLES)
    times = classes // len(built.label)
    return replace(
        built,
        window_index=built.window_index.repeat(times),
        label=torch.arange(classes),
        centre=built.centre.repeat(times, 1),
        side=built.side.repeat(times),
    )


def drawn(data: SurrogateSet, batch: int, *, count: int = 1) -> list[torch.Tensor]:
    """Indices of any samples, on the data's device."""
    indices = torch.randint(len(data), (count, batch), generator=torch.Generator().manual_seed(0))
    return list(indices.to(data.label.device))


def rendering(session: Session, data: SurrogateSet, batches: tuple[int, ...]) -> Iterator[Row]:
    """As the library renders."""
    for batch in batches:
        with enough_memory(f"rendering: lower --batch from {batch} to {max(batch // 2, 2)}"):
            indices = drawn(data, batch)[0]
            seconds = session.seconds(lambda indices=indices: data.render(indices))  # type: ignore[misc]  # a default
        yield measured(f"rendering, batches of {batch}", batch / seconds, "samples/s", milliseconds=1e3 * seconds)


def compiled(session: Session, data: SurrogateSet, batch: int) -> Iterator[Row]:
    """Samples of rows that are drawn, as the library renders them and as PyTorch's compiler would; how far they differ.

    Rows are never compiled, so both render the same squares: what the compiler makes of them for a CPU ends the process
    (docs/log.md).
    """
    if session.quick:
        raise UserError("the compiler takes longer than a quick look")
    indices = drawn(data, batch)[0]
    seed, rows, started = indices // data.draws.samples, data.rows(indices), time.perf_counter()
    transform = torch.compile(data.transform, fullgraph=True, dynamic=False)
    apart = transform(seed, rows).sub_(data.transform(seed, rows)).abs_()
    compile_seconds = time.perf_counter() - started
    plain, seconds = (session.seconds(partial(work, seed, rows)) for work in (data.transform, transform))
    yield measured(
        f"rendering, compiled, batches of {batch}",
        batch / seconds,
        "samples/s",
        milliseconds=1e3 * seconds,
        times_the_plain_one=plain / seconds,
        compile_seconds=compile_seconds,
        largest_difference=float(apart.max()),
        mean_difference=float(apart.mean()),
    )


def training(session: Session, data: SurrogateSet, recipe: str, model: str, batch: int) -> Iterator[Row]:
    """The bare step in its three ways, and the library's epochs."""
    name, outputs = f"{model}, {recipe}, batches of {batch}", networks.classes(session)
    operations = networks.operations(recipe, model, outputs)
    with enough_memory(f"{name}: lower --batch to {max(batch // 2, 2)}"):
        forget_peak(session)
        bare = partial(rate, session, name=name, operations=operations, batch=batch)
        step, fixed = steps(session, data, recipe, model, batch)
        found = bare("bare step", step)
        yield found
        yield bare("bare step, cuDNN free to choose", freely(step)) | {"repeatable": False}
        del step, fixed
        yield library(session, data, recipe, model, batch, least=found["value"]) | {"name": f"training, {name}"}
    graph = f"bare step, as a CUDA graph, {name}"  # last, as it may fail
    yield from optional(graph, partial(as_graph, session, lambda: steps(session, data, recipe, model, batch)[1], bare))


def rate(session: Session, what: str, work: Work, *, name: str, operations: float, batch: int) -> Row:
    """Images a second, and the share of the product's ceiling in the same precision."""
    seconds = session.seconds(work)
    achieved = operations * batch / seconds / 1e12
    ceiling = session.ceilings.get(str(session.compute.precision).removeprefix("torch."))
    return measured(
        f"{what}, {name}",
        batch / seconds,
        "images/s",
        milliseconds=1e3 * seconds,
        GFLOP_an_image=operations / 1e9,
        TFLOP_a_second=achieved,
        share_of_ceiling=achieved / ceiling if ceiling else None,
        peak_GB=peak(session),
    )


def steps(session: Session, data: SurrogateSet, recipe: str, model: str, batch: int) -> tuple[Work, Work]:
    """A step on the next of some batches, and a step on always the same one."""
    state = networks.begun(recipe, model, networks.classes(session), device=session.device, batch=batch)
    state.model.begin(data)
    ready = [in_layout(data.render(indices)) for indices in drawn(data, batch, count=READY)]
    following = cycle(ready)
    return (
        lambda: networks.step(state, next(following), session.compute),
        lambda: networks.step(state, ready[0], session.compute),
    )


def in_layout(batch: Batch) -> Batch:
    """Samples in the order of dimensions that the network works in."""
    return batch[0].contiguous(memory_format=torch.channels_last), batch[1]


def freely(work: Work) -> Work:
    """The work with cuDNN's fastest kernels, repeatable or not."""

    def run() -> object:
        with torch.backends.cudnn.flags(enabled=True, benchmark=True, deterministic=False, allow_tf32=False):
            return work()

    return run


def as_graph(session: Session, make: Callable[[], Work], bare: Callable[[str, Work], Row]) -> Iterator[Row]:
    """The rate of a step that is captured. Raises UserError without a card."""
    if not session.on_cuda:
        raise UserError("there is no CUDA device")
    yield bare("bare step, as a CUDA graph", captured(make()))


def captured(work: Work) -> Callable[[], None]:
    """The work as one launch; its arguments are those of now."""
    aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # no types
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(3):
            work()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    return graph.replay


def library(session: Session, data: SurrogateSet, recipe: str, model: str, batch: int, *, least: float) -> Row:
    """The best of its epochs but the first, each of a sample a class or more: a second at the bare step's rate."""
    samples = int(min(max(EPOCH_SECONDS * least / len(data.label), 1), data.draws.samples))
    few = replace(data, draws=replace(data.draws, samples=1 if session.quick else samples), held_out=0)
    method, settings = networks.draw(recipe, model, networks.classes(session)), networks.settings(recipe, batch, EPOCHS)
    epochs = list(fit(method, few, settings, compute=session.compute, random_seed=0, label="benchmark"))
    best = max(epoch.samples_per_second for epoch in epochs[1:])
    return measured("", best, "images/s", of_the_bare_step=best / least, steps=len(few) // batch, peak_GB=peak(session))


def forget_peak(session: Session) -> None:
    """Count the largest memory from here."""
    if session.on_cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(session.device)


def peak(session: Session) -> float | None:
    """The largest memory of the card's so far."""
    return torch.cuda.max_memory_allocated(session.device) / 1e9 if session.on_cuda else None


def feature_rate(session: Session, model: str) -> Iterator[Row]:
    """From bytes of 96 x 96 pixels in memory to pooled features in memory, in float32."""
    images = material.draw_images(4 if session.quick else 4096, random_seed=0)
    encoder = networks.draw("release", model, 2).finish()
    forget_peak(session)
    work = partial(features.measure, encoder, images, side=material.SIDE, cells=CELLS, compute=session.exact)
    seconds = session.seconds(work)
    yield measured(f"features of {model}", len(images) / seconds, "images/s", peak_GB=peak(session))


def probe(session: Session, name: str) -> Iterator[Row]:
    """All classes and all values of C on generated features of 3,840 columns, once."""
    count, low, high, number, scaling = PROBES[name]
    count, width = (60, 40) if session.quick else (count, WIDTH)
    problem = svms.draw(count, width, 10, costs=svms.costs(low, high, number), intercept_scaling=scaling)
    there = svms.on_device(problem, session.device)
    small = svms.on_device(svms.draw(60, 40, 10, costs=[0.1], intercept_scaling=1.0), session.device)
    small.solve()  # starts the linear algebra's libraries
    at_once = svm.PROBLEMS_AT_ONCE
    with enough_memory(f"{name}: lower PROBLEMS_AT_ONCE in exemplar/probe/svm.py from {at_once} to {at_once // 4}"):
        yield measured(f"SVMs: {name}, {count} x {width}", session.seconds_of(there.solve, 1), "s")
