"""Rounds of federated averaging per second, beside plain loops, Flower and pfl-research; many clients.

`python benchmarks/federated.py` measures this part alone.
"""

import contextlib
import copy
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from fedtwin.federated.data.dataset import Dataset, digits
from fedtwin.federated.data.partition import dirichlet
from fedtwin.federated.data.population import Population
from fedtwin.federated.models.registry import make_model
from fedtwin.federated.models.split_model import SplitModel
from fedtwin.federated.procedures.fedavg import FedAvg, FedAvgSettings
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from measure import HERE, SAMPLES, Sample, in_turn, processor, ratio, rival, version
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Subset, TensorDataset
from workload import BATCH, LEARNING_RATE, Workload, descend, load_weights

CLIENTS, CONCENTRATION = 40, 0.5
COMPARED = 5
"""Rounds after which weights are compared."""
SIDES = (8, 12, 16, 28)
"""Pixels along a side of the images of the convolutional model."""
EACH = 36
"""Samples of every client where only their number matters, as many as in the first workload on average."""
GROWTH = (10, 30, 100, 300, 1000)
PICTURE = "federated.png"
MOST_MEMORY = 4.0
"""GiB that 1,000 clients may take."""

Order = Sequence[Tensor]
"""The samples that each client visits in a round."""
Averaging = Callable[[SplitModel, Dataset, Sequence[Order]], None]
"""Trains a model in place for some rounds."""


def textbook(model: SplitModel, data: Dataset, orders: Sequence[Order]) -> None:
    """Train copies of the model with loaders and optimisers; average their state dictionaries."""
    samples = TensorDataset(data.inputs, data.labels)
    for order in orders:
        states, total = [], sum(len(visit) for visit in order)
        for visit in order:
            local = copy.deepcopy(model)
            descend(local, DataLoader(Subset(samples, visit.tolist()), batch_size=BATCH))
            states.append(local.state_dict())
        shares = [len(visit) / total for visit in order]
        mean = {
            name: sum(share * state[name] for share, state in zip(shares, states, strict=True)) for name in states[0]
        }
        model.load_state_dict(mean)


def lean(model: SplitModel, data: Dataset, orders: Sequence[Order]) -> None:
    """Train one model client after client on slices of its samples, without loader, optimiser or copies of modules."""
    parameters = list(model.parameters())
    with torch.no_grad():
        common = [value.clone() for value in parameters]
    for order in orders:
        mean, total = [torch.zeros_like(value) for value in common], sum(len(visit) for visit in order)
        for visit in order:
            with torch.no_grad():
                torch._foreach_copy_(parameters, common)
            inputs, labels = data.inputs[visit], data.labels[visit]
            for x, y in zip(torch.split(inputs, BATCH), torch.split(labels, BATCH), strict=True):
                gradients = torch.autograd.grad(cross_entropy(model(x), y), parameters)
                with torch.no_grad():
                    torch._foreach_add_(parameters, gradients, alpha=-LEARNING_RATE)
            with torch.no_grad():
                torch._foreach_add_(mean, parameters, alpha=len(visit) / total)
        common = mean
    with torch.no_grad():
        torch._foreach_copy_(parameters, common)


def first_model(name: str, data: Dataset, activation: str = "relu") -> SplitModel:
    """Return the model with its first weights."""
    return make_model(name, data.sample_shape, data.num_classes, seed=0, activation=activation)


def procedure(model: SplitModel, population: Population, way: str = "auto") -> FedAvg:
    """Return fedtwin's procedure before its first round; it is never scored, as the others are not."""
    settings = FedAvgSettings(learning_rate=LEARNING_RATE, batch=BATCH, score_every=10**9, way=way)
    return FedAvg(model, population, population.data, settings)


def orders_of(population: Population, rounds: int) -> list[Order]:
    """Return what every client visits in the first rounds."""
    sizes = population.sizes.tolist()
    return [
        [torch.from_numpy(population.next_samples(n, size, turn * size)) for n, size in enumerate(sizes)]
        for turn in range(rounds)
    ]


def ours(name: str, population: Population, rounds: int, way: str = "auto") -> Sample:
    """Rounds per second of fedtwin; it draws its orders as it goes."""
    running = procedure(first_model(name, population.data), population, way)

    def sample() -> float:
        began = time.perf_counter()
        for _ in range(rounds):
            running.round()
        return rounds / (time.perf_counter() - began)

    return sample


def plain(loop: Averaging, name: str, population: Population, rounds: int) -> Sample:
    """Rounds per second of a plain loop; its orders were drawn before."""
    model, orders = first_model(name, population.data), orders_of(population, rounds)

    def sample() -> float:
        began = time.perf_counter()
        loop(model, population.data, orders)
        return rounds / (time.perf_counter() - began)

    return sample


def reached(loop: Averaging | None, population: Population) -> list[Tensor]:
    """Return the weights of the smooth model after `COMPARED` rounds of a plain loop; None: of fedtwin."""
    model = first_model("mlp", population.data, "tanh")
    if loop is None:
        running = procedure(model, Population(population.data, population.parts))
        for _ in range(COMPARED):
            running.round()
        return list(running.parameters.values())
    loop(model, population.data, orders_of(population, COMPARED))
    return list(model.parameters())


def apart(a: Sequence[Tensor], b: Sequence[Tensor]) -> float:
    """Return the largest difference of a weight."""
    return max(float((x - y).detach().abs().max()) for x, y in zip(a, b, strict=True))


def span(values: Sequence[float]) -> str:
    """Format the median and the range as two cells of a table."""
    return f"{statistics.median(values):,.1f} | {min(values):,.1f} to {max(values):,.1f}"


def perceptrons() -> list[str]:
    """Compare all on the digits."""
    train = digits().split()[0]
    population = Population(train, dirichlet(train.labels, CLIENTS, CONCENTRATION, seed=0))
    weights = [value.detach() for value in first_model("mlp", train).parameters()]
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as rivals:
        file = Path(folder) / "workload.npz"
        Workload(train.inputs, train.labels, orders_of(population, COMPARED), weights).save(file)
        found = {name: Path(folder) / f"{name}.npz" for name in ("flower", "pfl")}
        sources: dict[str, Sample] = {
            "fedtwin": ours("mlp", population, 100),
            "textbook": plain(textbook, "mlp", population, 10),
            "lean": plain(lean, "mlp", population, 25),
            **{name: rivals.enter_context(rival(name, file, path, COMPARED)) for name, path in found.items()},
        }
        rates = dict(zip(sources, in_turn(list(sources.values())), strict=True))
        theirs = {name: load_weights(path) for name, path in found.items()}
    theirs |= {"textbook": reached(textbook, population), "lean": reached(lean, population)}
    mine = reached(None, population)
    distances = {name: apart(mine, weights) for name, weights in theirs.items()}
    for name, distance in distances.items():
        limit = 1e-6 if name == "lean" else 1e-5
        if distance > limit:
            raise RuntimeError(f"weights of {name} are {distance:g} from fedtwin's, must be within {limit:g}")
    labels = {
        "textbook": "textbook PyTorch loop",
        "lean": "lean PyTorch loop",
        "flower": f"Flower {version('flower', 'flwr')} simulation (Ray {version('flower', 'ray')}, one core)",
        "pfl": f"pfl-research {version('pfl', 'pfl')}",
    }
    rows = [
        f"| {label} | {span(rates[name])} | {ratio(rates['fedtwin'], rates[name])} | {distances[name]:.0e} |"
        for name, label in labels.items()
    ]
    return [
        "## Federated averaging",
        "",
        f"Digits ({len(train)} samples of 8 x 8), {CLIENTS} clients, Dirichlet({CONCENTRATION}), perceptron",
        f"64-128-64-10, one local epoch in batches of {BATCH}; nothing is scored. All have the same first weights and",
        "batch orders, which fedtwin alone draws as it goes. Textbook: a deep copy, a `DataLoader` over a `Subset` and",
        "`torch.optim.SGD` for each client. Lean: one module, sliced tensors, `torch.autograd.grad` and",
        "`torch._foreach_add_`. Flower and pfl-research run in environments of their own; their start is not counted.",
        f"Difference: the largest one of a weight from fedtwin's after {COMPARED} rounds, with tanh instead of the",
        "rectifier, on whose edge a rounding error may become one of 1e-5.",
        "",
        "| what | rounds/s (median) | range | fedtwin's rate over it, pair by pair | difference |",
        "| --- | --- | --- | --- | --- |",
        f"| fedtwin `FedAvg` | {span(rates['fedtwin'])} |  |  |",
        *rows,
        "",
    ]


def even(clients: int, side: int) -> Population:
    """Return clients with `EACH` samples each: noise, with random labels."""
    rng = torch.Generator().manual_seed(0)
    count = clients * EACH
    inputs = torch.rand((count, 1, side, side), generator=rng)
    data = Dataset(inputs, torch.randint(10, (count,), generator=rng), 10)
    return Population(data, np.split(np.arange(count), clients))


def convolutions() -> list[str]:
    """Compare ways to train convolutional clients."""
    rows = []
    for side in SIDES:
        population, rounds = even(CLIENTS, side), max(1, 48 // side)
        sources = [ours("cnn", population, rounds, way) for way in ("auto", "mapped")]
        auto, mapped, loop = in_turn([*sources, plain(lean, "cnn", population, rounds)])
        middle = " | ".join(f"{statistics.median(rates):.3g}" for rates in (auto, mapped, loop))
        rows.append(f"| {side} x {side} | {middle} | {ratio(auto, loop)} | {ratio(mapped, loop)} |")
    return [
        f"Two convolutions and three linear layers (`cnn`), {CLIENTS} clients with {EACH} samples each; `auto` takes",
        "`looped` for convolutions on a CPU, for images of at most 64 pixels `mapped`, which is `torch.func.vmap`:",
        "",
        "| images | `auto`, rounds/s | `mapped` | lean loop | `auto` over lean, pair by pair | `mapped` over lean |",
        "| --- | --- | --- | --- | --- | --- |",
        *rows,
        "",
    ]


def grown(clients: int) -> None:
    """Print seconds of several rounds and the peak memory of this process in MiB.

    The kernel's own figure (Linux): `getrusage` starts from that of the process that started this one.
    """
    torch.set_num_threads(1)
    population = even(clients, 8)
    running = procedure(first_model("mlp", population.data), population)
    times = []
    for _ in range(SAMPLES + 1):
        began = time.perf_counter()
        running.round()
        times.append(time.perf_counter() - began)
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    print(*times[1:], int(status["VmHWM"].split()[0]) / 1024)


def measured_growth() -> Mapping[int, list[float]]:
    """Return the numbers that `grown` prints, each from a process of its own."""
    found = {}
    for clients in GROWTH:
        command = [sys.executable, __file__, str(clients)]
        alone = {**os.environ, "OMP_NUM_THREADS": "1"}
        answer = subprocess.run(command, check=True, capture_output=True, text=True, env=alone)
        found[clients] = [float(number) for number in answer.stdout.split()]
    return found


def draw(found: Mapping[int, list[float]]) -> None:
    """Draw time and memory against the number of clients."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    times, memory = figure.subplots(1, 2)
    middle = [1e3 * statistics.median(numbers[:-1]) for numbers in found.values()]
    low, high = ([1e3 * end(numbers[:-1]) for numbers in found.values()] for end in (min, max))
    times.fill_between(GROWTH, low, high, alpha=0.25, linewidth=0)
    times.plot(GROWTH, middle, marker="o", markersize=4)
    times.set(ylabel="ms per round", title="line: median, band: range")
    memory.plot(GROWTH, [numbers[-1] for numbers in found.values()], marker="o", markersize=4)
    memory.set(ylabel="peak memory of the process, MiB", title=f"{processor()}, one core", ylim=(100, 5000))
    for axes in (times, memory):
        axes.set(xscale="log", yscale="log", xlabel="clients")
        axes.set_xticks(GROWTH, [f"{clients:,}" for clients in GROWTH])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter("{x:,g}")
        axes.grid(alpha=0.3, which="both")
        axes.title.set_fontsize(9)
    memory.axhline(1024 * MOST_MEMORY, color="0.4", linestyle="--", linewidth=1)
    memory.text(GROWTH[0], 1024 * MOST_MEMORY, f"limit {MOST_MEMORY:g} GiB", fontsize=8, verticalalignment="bottom")
    figure.savefig(HERE / PICTURE, dpi=110)


def growth() -> list[str]:
    """Measure time and memory of many clients."""
    found = measured_growth()
    most = found[GROWTH[-1]][-1]
    if most > 1024 * MOST_MEMORY:
        raise RuntimeError(f"{GROWTH[-1]} clients took {most:.0f} MiB, must stay within {1024 * MOST_MEMORY:.0f}")
    draw(found)
    rows = [
        f"| {clients:,} | {span([1e3 * value for value in numbers[:-1]])} | {numbers[-1]:,.0f} |"
        for clients, numbers in found.items()
    ]
    return [
        f"More clients with {EACH} samples each, the perceptron; every row from a process of its own. Clients are",
        "trained in chunks whose weights stay in the processor's caches, so that memory hardly grows:",
        "",
        f"![Time of a round and peak memory against the number of clients]({PICTURE})",
        "",
        "| clients | ms per round (median) | range | peak memory of the process, MiB |",
        "| --- | --- | --- | --- |",
        *rows,
        "",
    ]


def section() -> list[str]:
    """Measure all three."""
    return [*perceptrons(), *convolutions(), *growth()]


if __name__ == "__main__":
    if sys.argv[1:]:
        grown(int(sys.argv[1]))
    else:
        torch.set_num_threads(1)
        print("\n".join(section()))
