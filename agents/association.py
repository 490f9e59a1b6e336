"""Learned schedulers of the association system, compiled: trained weights decide, the twin scores, searches repair.

The weights are those that the package ships (`agents/pretrained`), or any file that `fedtwin-train` wrote.
"""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ..baselines import association_kernel as kernel
from ..baselines.association import OneTwin, Pair, empty_decision, solver, weakest_first
from ..baselines.association_kernel import Integers, PairWeights, Problem
from ..baselines.solver import Solver
from ..core.checkpoint import read_checkpoint
from ..core.trees import add_axis, take
from ..envs.association import AssociationParams, AssociationSystem, Decision, State, observation_fields
from ..envs.observations import Normalizer
from .association_greedy import GreedySettings, Improve, LearnedGreedy, guided_greedy, leave, read_guide
from .recipes import Agent, choices
from .schedulers import d3qn_class
from .weights import find_weights

REPAIRS = 6
"""Changes of the slowest client after a learned schedule."""

TEMPERATURE = 0.003
"""Scale of the Gumbel noise on advantages from which several schedules are sampled."""

SEQUENTIAL = {16: "association-sequential", 64: "association-sequential-large"}
"""Shipped agents by the number of clients they were trained with."""


def shipped_agent(clients: int) -> str:
    """Return the name of the shipped agent whose number of clients is nearest to `clients`, as a ratio."""
    return SEQUENTIAL[min(SEQUENTIAL, key=lambda size: abs(np.log(size / clients)))]


def pair_weights(path: Path, params: AssociationParams) -> PairWeights:
    """Read the weights of a sequential agent for a system with `params`.

    Raises:
        ValueError: the file holds another agent, or one that sees something else.
    """
    return _pair_weights(path, path.stat().st_mtime_ns, params)


@functools.lru_cache(maxsize=32)
def shipped_pair_weights(params: AssociationParams) -> PairWeights:
    """Read the shipped weights for a system with `params`, once."""
    return pair_weights(find_weights(shipped_agent(params.num_clients)), params)


@functools.lru_cache(maxsize=32)
def _pair_weights(path: Path, changed: int, params: AssociationParams) -> PairWeights:
    weights, values = read_checkpoint(path, "numpy")
    fields = observation_fields(params, "sequential")
    if values.get("agent") != "d3qn" or values["settings"]["network"] != "pairs":
        raise ValueError(f"{path} holds no sequential d3qn agent")
    if len(weights["mean"]) != len(fields):
        raise ValueError(f"{path} reads {len(weights['mean'])} fields per pair, the system shows {len(fields)}")
    normalizer = Normalizer(fields)
    each = slice(None, None, params.num_servers * params.num_channels)
    array = {name: value.astype(np.float64) for name, value in weights.items()}
    # Before the first update nothing is standardised yet: `PairNetwork` then takes its inputs as they are.
    deviation = np.where(array["deviation"] > 0.0, array["deviation"], 1.0)
    first = array["pair.weight"][0].T / deviation
    parts = {
        "low": normalizer.low[each],
        "offset": normalizer.offset[each],
        "factor": normalizer.factor[each],
        "first": first,
        "first_bias": array["pair.bias"][0, 0] - first @ array["mean"],
        "mix_bias": array["mix.bias"][0, 0],
        "head": np.empty((0, 0)),
        "head_bias": np.empty(0),
        "advantage": array["advantage.weight"][0, :, 0],
    }
    if "advantage_hidden.weight" in array:
        parts |= {"head": array["advantage_hidden.weight"][0].T, "head_bias": array["advantage_hidden.bias"][0, 0]}
    own, on_channel, *shared = np.split(array["mix.weight"][0], 4)
    parts |= {"own": own.T, "on_channel": on_channel.T, "shared": np.concatenate(shared)}
    for name, part in parts.items():
        if not np.isfinite(part).all():
            raise ValueError(f"{path} holds weights that are not finite ({name})")
    return PairWeights(**{name: np.ascontiguousarray(part, np.float32) for name, part in parts.items()})


def mend(problem: Problem, server: Integers, channel: Integers) -> None:
    """Repair a schedule: the slowest client moves or swaps, at most `REPAIRS` times."""
    kernel.repair(problem, server, channel, REPAIRS)


def swap(problem: Problem, server: Integers, channel: Integers) -> None:
    """Improve a schedule by swap matching."""
    kernel.swap_matching(problem, server, channel, False)


def sequential(samples: int, improve: Improve, weights: str | Path | None = None) -> OneTwin:
    """Build the sequential D3QN: the best of several schedules sampled from its advantages, the first one greedy."""

    def decide(system: AssociationSystem, state: State, problem: Problem, rng: np.random.Generator) -> Pair:
        params = system.params
        network = shipped_pair_weights(params) if weights is None else pair_weights(find_weights(weights), params)
        order = weakest_first(state)
        noise = np.zeros((samples, order.size, system.num_actions), np.float32)
        if samples > 1:
            noise[1:] = TEMPERATURE * rng.gumbel(size=noise[1:].shape)
        server, channel = empty_decision(problem)
        mean_gain = np.ascontiguousarray(state.mean_gain, np.float64)
        kernel.best_learned(problem, mean_gain, order[problem.active[order]], network, noise, server, channel)
        improve(problem, server, channel)
        return server, channel

    return decide


def documented(decide: OneTwin, text: str) -> Solver:
    """Turn a learned scheduler into a solver with its one-line description."""
    decide.__doc__ = text
    return solver(decide)


SOLVERS: dict[str, Solver] = {
    "d3qn": documented(
        sequential(1, mend), f"Sequential D3QN, shipped weights; slowest client mended, up to {REPAIRS} times."
    ),
    "d3qn_raw": documented(sequential(1, leave), "Sequential D3QN, shipped weights, as it decides."),
    "d3qn_swap": documented(sequential(1, swap), "Sequential D3QN, then swap matching."),
    **{
        f"d3qn_{n}": documented(
            sequential(n, leave), f"Sequential D3QN: the best of {n} schedules sampled from its values."
        )
        for n in (8, 16)
    },
    **{
        f"d3qn_{n}_swap": documented(
            sequential(n, swap), f"Sequential D3QN: the best of {n} sampled schedules, then swap matching."
        )
        for n in (8, 16)
    },
    "learned_greedy": documented(guided_greedy(1, leave), "Learned greedy: learned order, learned criterion."),
    **{
        f"learned_greedy_{n}_swap": documented(
            guided_greedy(n, swap), f"Learned greedy: the best of {n} perturbed learned orders, then swap matching."
        )
        for n in (8, 16)
    },
    "d3qn_best": documented(guided_greedy(8, swap), "The best learned method: `learned_greedy_8_swap`."),
}


def independent(path: Path) -> Solver:
    """Build the schedule of agents that decide at once, each with its own network (the `paper` preset of training).

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file holds something else.
    """
    return _independent(path, path.stat().st_mtime_ns)


@functools.lru_cache(maxsize=8)
def _independent(path: Path, changed: int) -> Solver:
    agent = d3qn_class().load(path)
    if "params" not in agent.about:
        raise ValueError(f"{path} does not say what its agents see: set about['params'] before saving")
    observation = agent.about["params"]["observation"]

    def solve(system: AssociationSystem, state: State, rng: np.random.Generator | None = None) -> Decision:
        params = dataclasses.replace(system.params, decisions="simultaneous", observation=observation)
        sibling = AssociationSystem(params)
        shape = (len(sibling.agents), sibling.observation_size, sibling.num_actions)
        trained = (agent.shape.agents, agent.shape.observation_size, agent.shape.num_actions)
        if shape != trained:
            raise ValueError(f"{path} was trained for (agents, observation, actions) {trained}, not for {shape}")
        one = state.energy_used.ndim == 1
        seen = add_axis(system.believed(state)) if one else system.believed(state)
        masks = sibling.mask(seen, sibling.undecided(seen))
        decision = sibling.decide(seen, agent.act(sibling.observe(seen, sibling.undecided(seen)), masks))
        return take(decision, 0) if one else decision

    solve.__doc__ = "Independent D3QN agents that decide at once."
    return solve


def with_weights(improve: Improve) -> Callable[[str], Solver]:
    """Return what builds a D3QN scheduler from a file, sequential or independent as the file says."""

    def build(path: str) -> Solver:
        found = find_weights(path)
        if read_checkpoint(found, "numpy")[1].get("settings", {}).get("network") == "independent":
            return independent(found)
        pair_weights(found, AssociationParams(decisions="sequential"))
        return solver(sequential(1, improve, found))

    return build


FROM_FILE: dict[str, Callable[[str], Solver]] = {
    "d3qn": with_weights(mend),
    "d3qn_raw": with_weights(leave),
    "learned_greedy": lambda path: solver(guided_greedy(1, leave, read_guide(find_weights(path)))),
    "learned_greedy_8_swap": lambda path: solver(guided_greedy(8, swap, read_guide(find_weights(path)))),
}
"""Builders of learned methods from the file of their weights."""

AGENTS = {"greedy": Agent(lambda: LearnedGreedy, GreedySettings, choices, LearnedGreedy.solver)}
"""Kinds of agents that only this system has."""
