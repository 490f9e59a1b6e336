"""Train a scheduler: `python train.py association --agent d3qn`."""

import argparse
import dataclasses
import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import tyro
from fedtwin.agents.curves import draw_curves
from fedtwin.agents.d3qn import D3QN, D3QNSettings
from fedtwin.agents.ddpg import DDPG, DDPGSettings
from fedtwin.agents.greedy import GreedySettings, LearnedGreedy
from fedtwin.agents.hybrid import HybridView
from fedtwin.agents.training import BEST, CHECKPOINT, MODEL, STEP, Schedule, Score, train
from fedtwin.baselines.learned import decide_exactly, hybrid
from fedtwin.core.checkpoint import require_same
from fedtwin.core.checks import unknown_name
from fedtwin.core.command_line import argument
from fedtwin.core.files import write_atomically
from fedtwin.core.log import Facts, Log
from fedtwin.core.settings import Settings, parameter
from fedtwin.envs import SYSTEMS, environment_id, make_system, vector_env
from fedtwin.envs.association import AssociationSystem
from fedtwin.envs.system import System
from fedtwin.envs.views.vector import VectorView
from fedtwin.evaluation.held_out import HeldOut
from fedtwin.evaluation.plan import experiment_names, read_experiment
from gymnasium.vector import AutoresetMode
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

ENVIRONMENTS: Mapping[tuple[str, str], Mapping[str, Any]] = {
    ("association", "sequential"): {"decisions": "sequential", "positions": "round", "dtype": "float32"},
    ("association", "paper"): {"observation": "paper", "reward_rule": "paper", "max_cycles": 1, "dtype": "float32"},
    ("association", "independent"): {"observation": "paper", "dtype": "float32"},
    ("split_point", "hybrid"): {"max_cycles": 10, "steps": 800_000},
    ("quantization", "hybrid"): {"max_cycles": 10, "reward_rule": "own", "positions": "round", "steps": 800_000},
    ("split_point", "ddpg"): {
        "max_cycles": 1,
        "reward_rule": "own",
        "violation_weight": 3.0,
        "violation_margin": 0.03,
        "dtype": "float32",
        "steps": 2_000_000,
    },
    ("quantization", "ddpg"): {
        "max_cycles": 1,
        "reward_rule": "own",
        "violation_weight": 0.0,
        "dtype": "float32",
        "steps": 1_500_000,
    },
}
"""Parameters of the system, and steps, that go with a preset of the agent; DDPG's go with any."""


@dataclasses.dataclass(frozen=True)
class Options(Settings):
    """What is trained, and where it is put."""

    agent: str = parameter(
        "d3qn",
        doc="d3qn; greedy (a learned greedy); ddpg and hybrid (choices by D3QN, exact numbers) where decisions are "
        "hybrid; sb3:ppo, sb3:dqn, sb3:a2c, sb3:ddpg, sb3:td3, sb3:sac (Stable-Baselines3)",
    )
    seed: int = parameter(0, at_least=0, doc="seed of weights, exploration and environment")
    num_envs: int = parameter(256, at_least=1, doc="copies that are stepped together")
    device: str = parameter("cpu", doc="torch device; on another than cpu the environment lives there too")
    held_out: int = parameter(400, at_least=1, doc="twins that scores are measured on")
    held_out_rounds: int = parameter(1, at_least=1, doc="rounds of each of them")
    start: str = parameter("", doc="weights to start from: a file or a shipped name; empty: random ones")
    sb3: str = parameter("{}", doc="JSON with keyword arguments of the Stable-Baselines3 algorithm")
    output: str = parameter("results/train", doc="folder of weights, checkpoint and logs; a run in it is continued")


@dataclasses.dataclass(frozen=True)
class Job:
    """A training, complete and checked."""

    system: System
    preset: str
    options: Options
    schedule: Schedule
    settings: Any
    """Of the agent: `D3QNSettings` or `DDPGSettings`."""
    greedy: GreedySettings


PRESETS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "d3qn": {name: values for name, values in D3QN.presets.items() if name != "hybrid"},
    "hybrid": {"hybrid": D3QN.presets["hybrid"]},
    "ddpg": DDPG.presets,
}
"""Presets of each of the package's agents; others take the parameters that go with d3qn's."""
DEFAULT_PRESET: Mapping[tuple[str, str], str] = {
    ("split_point", "ddpg"): "split_point",
    ("quantization", "ddpg"): "quantization",
    ("split_point", "hybrid"): "hybrid",
    ("quantization", "hybrid"): "hybrid",
}
"""The preset of an agent on a system, where it is not "sequential"."""


def parse(arguments: Sequence[str]) -> Job:
    """Read the command line; a preset and a figure's file give defaults that options override.

    Raises:
        ValueError: unknown system, preset or key, or a value out of its limits.
    """
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--figure")
    first.add_argument("--preset")
    first.add_argument("--agent")
    known, rest = first.parse_known_args(list(arguments))
    figure = read_experiment(known.figure, trains=True) if known.figure else {}
    named = rest.pop(0) if rest and not rest[0].startswith("-") else None
    name = named or figure.pop("system", "association")
    figure.pop("system", None)
    if name not in SYSTEMS:
        raise unknown_name("system", name, SYSTEMS)
    agent = known.agent or figure.get("agent", "d3qn" if name == "association" else "ddpg")
    others = tuple(system for system in SYSTEMS if system != name)
    every = PRESETS.get(agent, PRESETS["d3qn"])
    presets = {label: settings for label, settings in every.items() if not label.startswith(others)}
    preset = known.preset or figure.pop("preset", DEFAULT_PRESET.get((name, agent), next(iter(presets))))
    figure.pop("preset", None)
    if preset not in presets:
        raise unknown_name("preset", preset, presets)
    own = DDPGSettings if agent == "ddpg" else D3QNSettings
    kinds: tuple[type[Settings], ...] = (Options, Schedule, own, GreedySettings, SYSTEMS[name].params_type)
    environment = ENVIRONMENTS.get((name, "ddpg" if agent == "ddpg" else preset), {})
    values = {**presets[preset], **environment, **figure, "agent": agent}
    valid = {field.name for kind in kinds for field in dataclasses.fields(kind)}
    for key in values:
        if key not in valid:
            raise unknown_name("key", key, valid)
    defaults = [settings_of(kind, values) for kind in kinds]
    fields = [argument(field, getattr(one, field.name)) for one in defaults for field in dataclasses.fields(one)]
    command_line = dataclasses.make_dataclass("CommandLine", fields)
    help_text = (
        f"Train a scheduler of {name}.\n\n"
        f"Systems: {', '.join(SYSTEMS)}. --preset takes hyperparameters with their environment: "
        f"{', '.join(presets)}. --figure takes a shipped experiment: {', '.join(experiment_names(trains=True))}."
    )
    parsed: Any = tyro.cli(command_line, args=rest, description=help_text, prog=f"fedtwin-train {name}")
    options, schedule, settings, greedy, params = (settings_of(kind, dataclasses.asdict(parsed)) for kind in kinds)
    return Job(SYSTEMS[name](params), preset, options, schedule, settings, greedy)


def settings_of(kind: type[Settings], values: Mapping[str, Any]) -> Any:
    """Build settings from those of `values` that they have."""
    names = {field.name for field in dataclasses.fields(kind)}
    return kind.create({name: value for name, value in values.items() if name in names})


def show(progress: Progress, console: Console, task: Any, facts: Facts) -> None:
    """Move the bar and print a line."""
    progress.update(task, completed=int(facts["transitions"]))
    shown = " ".join(f"{name} {value:.4g}" for name, value in facts.items() if name != "transitions")
    console.print(f"{int(facts['transitions']):>12,}  {shown}", soft_wrap=True, highlight=False)


def train_own(job: Job, command: str, advanced: Any) -> Path:
    """Train one of the package's own agents and return the file of the best weights."""
    options, system = job.options, job.system
    device = None if options.device == "cpu" else options.device
    params = dataclasses.asdict(system.params)
    exact = make_system(system.name, **{**params, "dtype": "float64"})
    held_out = HeldOut(exact, options.held_out, options.held_out_rounds)
    settings: dict[str, Any] = {"device": device, "shared_draws": True}
    env: VectorView
    agent: Any
    score: Score = held_out
    if options.agent == "hybrid":
        if device is not None:
            raise ValueError(f"device is {options.device}, must be cpu: the exact allocator computes there")
        env = HybridView(system, options.num_envs, decide_exactly, **settings)
    else:
        mode = AutoresetMode.NEXT_STEP
        if options.agent == "ddpg" and not job.settings.discount:
            mode = AutoresetMode.SAME_STEP
        env = vector_env(system.name, options.num_envs, autoreset_mode=mode, **settings, **params)
    if options.agent == "greedy":
        if not isinstance(exact, AssociationSystem):
            raise ValueError(f"agent greedy belongs to association, not to {system.name}")
        agent = LearnedGreedy(exact, job.greedy, seed=options.seed)
        score = held_out.learned
    else:
        kind: Any = DDPG if options.agent == "ddpg" else D3QN
        agent = kind.for_env(env, job.settings, seed=options.seed, device=options.device)
        if options.start:
            agent.start_from(kind.load(options.start, env=env))
        if options.agent == "hybrid":
            score = solved(held_out)
    names = {"system": system.name, "environment": environment_id(system.name)}
    agent.about = {**names, "params": params, "command": command, "transitions": job.schedule.steps}
    folder = Path(options.output)
    own = {name: value for name, value in dataclasses.asdict(options).items() if name not in ("output", "sb3")}
    identity = {**own, **dataclasses.asdict(agent.settings), **params}
    train(agent, env, job.schedule, seed=options.seed, folder=folder, score=score, identity=identity, advanced=advanced)
    return folder / BEST


def solved(held_out: HeldOut) -> Score:
    """Return the score of agents whose choices the exact allocator completes."""
    return lambda agent: held_out.solved(hybrid(agent))


def train_sb3(job: Job, algorithm: str, advanced: Any) -> Path:
    """Train a Stable-Baselines3 algorithm on the central view and return the file of its model."""
    from fedtwin.agents import sb3

    options, system, schedule = job.options, job.system, job.schedule
    try:
        settings = json.loads(options.sb3)
    except ValueError as error:
        raise ValueError(f"sb3 is {options.sb3!r}, must be JSON: {error}") from error
    model = sb3.make_model(algorithm, system, options.num_envs, options.seed, settings)
    folder = Path(options.output)
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / CHECKPOINT).exists():
        raise ValueError(f"{folder} holds a run of another agent: choose another folder or delete it")
    path, run_file = folder / MODEL, folder / "run.json"
    run = {"agent": options.agent, "seed": options.seed, "num_envs": options.num_envs, "sb3": settings}
    identity = json.loads(json.dumps({**run, **dataclasses.asdict(system.params)}, default=str))
    if path.exists():
        require_same(folder, json.loads(run_file.read_text()) if run_file.exists() else {}, identity)
        model = sb3.load_model(path, model)
    write_atomically(run_file, json.dumps(identity, indent=1) + "\n")
    held_out = HeldOut(system, options.held_out, options.held_out_rounds)
    log = Log(folder, model.num_timesteps, step=STEP)

    def scored(transitions: int) -> None:
        facts = {"transitions": transitions, **held_out(sb3.SB3Agent(model, system.action_size))}
        log.add(facts)
        advanced(facts)

    left = schedule.steps - model.num_timesteps
    if left > 0:
        callback = sb3.Progress(schedule.score_every, path, scored)
        model.learn(left, callback=callback, reset_num_timesteps=False)
        sb3.store_model(model, path)
        scored(model.num_timesteps)
    return path


def run(job: Job, command: str, console: Console) -> Path:
    """Train, draw the curves and return the file of the weights."""
    torch.set_num_threads(1)
    if job.options.device.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"device is {job.options.device}, but torch finds no CUDA device")
    folder = Path(job.options.output)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("transitions", total=job.schedule.steps)

        def advanced(facts: Facts) -> None:
            show(progress, console, task, facts)

        if job.options.agent in ("d3qn", "greedy", "ddpg", "hybrid"):
            weights = train_own(job, command, advanced)
        elif job.options.agent.startswith("sb3:"):
            weights = train_sb3(job, job.options.agent.removeprefix("sb3:"), advanced)
        else:
            raise ValueError(f"agent is {job.options.agent!r}, must be d3qn, greedy, ddpg, hybrid or sb3:ALGORITHM")
    console.print(f"curves: {draw_curves(folder).resolve()}", soft_wrap=True)
    return weights


def command_of(arguments: Sequence[str]) -> str:
    """Return the command line as it is kept with the weights: without the folder they were put in."""
    kept = [text for text in arguments if not text.startswith("--output=")]
    if "--output" in kept:
        place = kept.index("--output")
        del kept[place : place + 2]
    return shlex.join(["fedtwin-train", *kept])


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; errors in what was asked for end with status 2 and one line."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    console = Console()
    try:
        weights = run(parse(given), command_of(given), console)
    except (ValueError, OSError, ImportError, ArithmeticError) as error:
        print(f"fedtwin-train: error: {error}", file=sys.stderr)
        raise SystemExit(2) from error
    except KeyboardInterrupt:
        print("interrupted: run the same command again to continue", file=sys.stderr)
        raise SystemExit(130) from None
    console.print(f"weights: {weights.resolve()}", soft_wrap=True)


if __name__ == "__main__":
    main()
