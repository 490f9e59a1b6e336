"""Train a scheduler: `python train.py association --agent d3qn`."""

import dataclasses
import json
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fedtwin.agents.curves import draw_curves
from fedtwin.agents.recipes import DEFAULT, agents_of, default_agent, preset_names, recipe
from fedtwin.agents.training import BEST, CHECKPOINT, MODEL, STEP, Schedule, Score, train
from fedtwin.core import command_line
from fedtwin.core.checkpoint import require_same
from fedtwin.core.checks import unknown_name
from fedtwin.core.files import write_atomically
from fedtwin.core.log import Facts, Log
from fedtwin.core.randomness import spread
from fedtwin.core.settings import Settings, parameter
from fedtwin.envs import SYSTEMS, environment_id, make_system
from fedtwin.envs.system import System
from fedtwin.evaluation.experiments import experiment_names, read_request
from fedtwin.evaluation.held_out import HeldOut
from rich.console import Console

Advanced = Callable[[Facts], None]


@dataclasses.dataclass(frozen=True)
class Options(Settings):
    """What is trained, and where it is put."""

    agent: str = parameter(
        "d3qn", doc="an agent of this package, or sb3:a2c, sb3:ddpg, sb3:dqn, sb3:ppo, sb3:sac, sb3:td3"
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
    """Of the agent, such as `D3QNSettings`."""


def settings_type(system: str, agent: str) -> type[Settings]:
    """Return the hyperparameters that an agent declares; those of Stable-Baselines3 come as JSON.

    Raises:
        ValueError: the system has no such agent; the nearest is named.
    """
    agents = agents_of(system)
    if agent.startswith("sb3:"):
        return Settings
    if agent not in agents:
        raise unknown_name(f"agent of {system}", agent, (*agents, "sb3:ALGORITHM"))
    return agents[agent].settings


def parse(arguments: Sequence[str]) -> Job:
    """Read the command line; a recipe and a figure's file give defaults that options override.

    Raises:
        ValueError: unknown system, agent, preset or key, or a value out of its limits.
    """
    request = read_request(arguments, trains=True)
    name, agent, preset = request.system, request.agent or default_agent(request.system), request.preset or DEFAULT
    family = agent.partition(":")[0]
    kinds: tuple[Any, ...] = (Options, Schedule, settings_type(name, agent), SYSTEMS[name].params_type)
    values = {**recipe(name, family, preset), **request.values, "agent": agent}
    valid = {field.name for kind in kinds for field in dataclasses.fields(kind)}
    for key in values:
        if key not in valid:
            raise unknown_name("key", key, valid)
    text = (
        f"Train a scheduler of {name}.\n\n"
        f"Systems: {', '.join(SYSTEMS)}. Agents of {name}: {', '.join(agents_of(name))}, sb3:ALGORITHM. --preset takes "
        f"hyperparameters with their environment: {', '.join(preset_names(name, family))}. "
        f"--figure takes a shipped experiment: {', '.join(experiment_names(trains=True))}."
    )
    defaults = [kind.pick(values) for kind in kinds]
    given = command_line.ask(defaults, request.rest, program=f"fedtwin-train {name}", text=text)
    options, schedule, settings, params = (kind.pick(given) for kind in kinds)
    return Job(SYSTEMS[name](params), preset, options, schedule, settings)


def train_own(job: Job, command: str, advanced: Advanced) -> Path:
    """Train one of the package's own agents and return the file of the best weights."""
    options, system = job.options, job.system
    row = agents_of(system.name)[options.agent]
    params = dataclasses.asdict(system.params)
    exact = make_system(system.name, **{**params, "dtype": "float64"})
    env = row.env(system, options.num_envs, job.settings, None if options.device == "cpu" else options.device)
    learner = row.learner()
    agent = learner.for_env(env, job.settings, seed=options.seed, device=options.device)
    if options.start:
        agent.start_from(learner.load(options.start, env=env))
    names = {"system": system.name, "environment": environment_id(system.name)}
    agent.about = {**names, "params": params, "command": command, "transitions": job.schedule.steps}
    own = {name: value for name, value in dataclasses.asdict(options).items() if name not in ("output", "sb3")}
    identity = {**own, **dataclasses.asdict(agent.settings), **params}
    held_out, solver = HeldOut(exact, options.held_out, options.held_out_rounds), row.solver
    score: Score = held_out if solver is None else lambda agent: held_out.solved(solver(agent))
    folder = Path(options.output)
    train(
        agent,
        env,
        job.schedule,
        seed=spread(options.seed, "training"),
        folder=folder,
        score=score,
        identity=identity,
        advanced=advanced,
    )
    return folder / BEST


def train_sb3(job: Job, algorithm: str, advanced: Advanced) -> Path:
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
        sb3.load_model(path, model)
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
        if callback.scored < model.num_timesteps:
            sb3.store_model(model, path)
            scored(model.num_timesteps)
    return path


def run(job: Job, command: str, console: Console) -> Path:
    """Train, draw the curves and return the file of the weights."""
    import torch

    torch.set_num_threads(1)
    if job.options.device.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"device is {job.options.device}, but torch finds no CUDA device")
    with command_line.progress_bar(console) as bar:
        task = bar.add_task("transitions", total=job.schedule.steps)

        def advanced(facts: Facts) -> None:
            """Move the bar and print a line."""
            bar.update(task, completed=int(facts["transitions"]))
            shown = " ".join(f"{name} {value:.4g}" for name, value in facts.items() if name != "transitions")
            console.print(f"{int(facts['transitions']):>12,}  {shown}", soft_wrap=True, highlight=False)

        if job.options.agent.startswith("sb3:"):
            weights = train_sb3(job, job.options.agent.removeprefix("sb3:"), advanced)
        else:
            weights = train_own(job, command, advanced)
    console.print(f"curves: {draw_curves(Path(job.options.output)).resolve()}", soft_wrap=True)
    return weights


def command_of(arguments: Sequence[str]) -> str:
    """Return the command line as it is kept with the weights: without the folder they were put in."""
    kept = [text for text in arguments if not text.startswith("--output=")]
    if "--output" in kept:
        place = kept.index("--output")
        del kept[place : place + 2]
    return shlex.join(["fedtwin-train", *kept])


def work(arguments: list[str]) -> None:
    """Train what the arguments say."""
    console = Console()
    weights = run(parse(arguments), command_of(arguments), console)
    console.print(f"weights: {weights.resolve()}", soft_wrap=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    command_line.run("fedtwin-train", work, arguments)


if __name__ == "__main__":
    main()
