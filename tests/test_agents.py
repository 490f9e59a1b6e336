"""The learner: targets and loss against plain loops, networks, replay, known values, resuming a killed run."""

import signal
import time
from pathlib import Path
from typing import Any

import fedtwin.envs as envs
import gymnasium
import numpy as np
import pytest
import torch
from fedtwin.agents import D3QN, D3QNSettings
from fedtwin.agents.d3qn import Shape
from fedtwin.agents.networks import IndependentNetworks, PairNetwork, StackedLinear, dueling
from fedtwin.agents.replay import Batch, Replay
from fedtwin.agents.training import BEST, CHECKPOINT, Schedule, train
from fedtwin.core.checkpoint import read_checkpoint, write_checkpoint
from fedtwin.core.log import LOG
from fedtwin.evaluation.held_out import HeldOut
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from trainings import assert_resumes, assert_same_training, equal, start, wait_for, weights

SMALL: dict[str, Any] = {"num_clients": 4, "num_channels": 3, "num_servers": 2, "max_cycles": 3}
FAST = {"replay": 2048, "batch": 16, "learn_after": 64, "target_every": 3}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def agent_for(env: Any, **settings: Any) -> D3QN:
    return D3QN.for_env(env, D3QNSettings.create({**FAST, **settings}))


def sequential_env(copies: int = 8, **options: Any) -> Any:
    return envs.vector_env("association", copies, decisions="sequential", **{**SMALL, **options})


def random_batch(agents: int, size: int, actions: int, rows: int = 7) -> Batch:
    rng = generator(5)
    mask = torch.rand((rows, agents, actions), generator=rng) < 0.6
    mask[..., 0] = True
    return Batch(
        observation=torch.rand((rows, agents, size), generator=rng),
        action=torch.randint(actions, (rows, agents), generator=rng),
        reward=torch.rand((rows, agents), generator=rng),
        discount=torch.tensor([0.0, 0.9] * rows)[:rows, None],
        next_observation=torch.rand((rows, agents, size), generator=rng),
        next_mask=mask,
        weight=torch.rand((rows, 1), generator=rng),
        index=torch.arange(rows),
    )


# Networks.


def test_dueling_subtracts_the_mean_advantage() -> None:
    value, advantage = torch.tensor([[2.0]]), torch.tensor([[1.0, -3.0, 5.0]])
    assert dueling(value, advantage).tolist() == [[2.0 + 1.0 - 1.0, 2.0 - 3.0 - 1.0, 2.0 + 5.0 - 1.0]]


def test_stacked_networks_equal_separate_ones() -> None:
    stacked = IndependentNetworks(3, 5, 4, (8, 6), generator())
    x = torch.rand((10, 3, 5), generator=generator(1))
    for agent in range(3):
        y = x[:, agent]
        for layer in stacked.hidden:
            assert isinstance(layer, StackedLinear)
            y = torch.relu(y @ layer.weight[agent] + layer.bias[agent, 0])
        value = y @ stacked.value.weight[agent] + stacked.value.bias[agent, 0]
        advantage = y @ stacked.advantage.weight[agent] + stacked.advantage.bias[agent, 0]
        expected = value + advantage - advantage.mean(dim=1, keepdim=True)
        torch.testing.assert_close(stacked(x)[:, agent], expected)


def plain_pair_values(network: PairNetwork, x: np.ndarray) -> np.ndarray:
    """Values of one observation, pair by pair."""
    servers, channels = network.shape
    w = {name: tensor.double().numpy() for name, tensor in network.state_dict().items()}
    fields = x.reshape(network.fields, servers, channels)

    def layer(name: str, y: np.ndarray) -> np.ndarray:
        out: np.ndarray = y @ w[f"{name}.weight"][0] + w[f"{name}.bias"][0, 0]
        return out

    def head(name: str, y: np.ndarray) -> np.ndarray:
        return np.maximum(layer(name, y), 0) if f"{name}.weight" in w else y

    first = np.empty((servers, channels, w["pair.bias"].shape[-1]))
    for m in range(servers):
        for k in range(channels):
            seen = (fields[:, m, k] - w["mean"]) / w["deviation"]
            first[m, k] = np.maximum(layer("pair", seen), 0)
    advantage, mixed = np.empty((servers, channels)), np.empty((servers, channels, w["mix.bias"].shape[-1]))
    for m in range(servers):
        for k in range(channels):
            pools = (first[m, k], first[:, k].mean(0), first[m].mean(0), first.mean((0, 1)))
            mixed[m, k] = np.maximum(layer("mix", np.concatenate(pools)), 0)
            advantage[m, k] = layer("advantage", head("advantage_hidden", mixed[m, k]))[0]
    value = layer("value", head("value_hidden", mixed.mean((0, 1))))
    return np.asarray((value + advantage - advantage.mean()).ravel())


@pytest.mark.parametrize("hidden", [(6, 7), (6, 7, 5)])
def test_pair_network_equals_plain_loops(hidden: tuple[int, ...]) -> None:
    network = PairNetwork(2, 3, 5, hidden, generator())
    x = torch.rand((4, 30), generator=generator(2))
    network.standardize(x)
    values = network(x).detach().numpy()
    for row in range(4):
        np.testing.assert_allclose(values[row], plain_pair_values(network, x[row].double().numpy()), atol=1e-5)


def test_pair_network_follows_its_pairs() -> None:
    """Renaming servers and channels renames the values: nothing depends on an index."""
    network = PairNetwork(3, 4, 2, (8, 8), generator())
    x = torch.rand((2, 3, 4), generator=generator(3))
    servers, channels = torch.tensor([2, 0, 1]), torch.tensor([1, 3, 0, 2])
    renamed = x[:, servers][:, :, channels].flatten()
    expected = network(x.flatten()).view(3, 4)[servers][:, channels].flatten()
    torch.testing.assert_close(network(renamed), expected)


# Targets and loss.


@pytest.mark.parametrize("kind", ["independent", "pairs"])
def test_targets_and_loss_equal_plain_loops(kind: str) -> None:
    shape = Shape(1, 30, 6, (2, 3)) if kind == "pairs" else Shape(3, 5, 6)
    agent = D3QN(shape, D3QNSettings(network=kind, hidden=(8, 8)))  # type: ignore[arg-type]
    other = D3QN(shape, agent.settings, seed=1)
    agent.target.load_state_dict(other.online.state_dict())
    batch = random_batch(shape.agents, shape.observation_size, 6)
    with torch.no_grad():
        online, target = agent.online(batch.next_observation), agent.target(batch.next_observation)
        now = agent.online(batch.observation)
    loss = 0.0
    differs = False
    for n in range(shape.agents):
        for row in range(7):
            legal = [a for a in range(6) if batch.next_mask[row, n, a]]
            best = max(legal, key=lambda a: float(online[row, n, a]))
            differs |= best != max(legal, key=lambda a: float(target[row, n, a]))
            y = float(batch.reward[row, n]) + float(batch.discount[row, 0]) * float(target[row, n, best])
            assert float(agent.targets(batch)[row, n]) == pytest.approx(y, abs=1e-6)
            error = float(now[row, n, batch.action[row, n]]) - y
            loss += float(batch.weight[row, 0]) * error**2 / 7
    found = agent.loss(agent.errors(batch), batch).item()
    assert found == pytest.approx(loss, rel=1e-5)
    assert differs, "online and target network agree everywhere: the test could not tell double from plain"


def test_disappointing_targets_count_less_under_hysteresis() -> None:
    env = envs.vector_env("association", 2, **SMALL)
    batch = random_batch(agents=4, size=3, actions=2)
    errors = torch.randn((7, 4), generator=generator(5))
    weights = batch.weight.expand(7, 4)
    for hysteresis in (1.0, 0.25):
        agent = agent_for(env, network="independent", hidden=(8,), hysteresis=hysteresis)
        expected = sum(
            float(weights[row, n] * errors[row, n] ** 2) * (hysteresis if errors[row, n] > 0 else 1.0) / 7
            for row in range(7)
            for n in range(4)
        )
        assert float(agent.loss(errors, batch)) == pytest.approx(expected, rel=1e-5)


def test_no_gradient_flows_through_the_target() -> None:
    agent = D3QN(Shape(3, 5, 6), D3QNSettings(network="independent", hidden=(8,)))
    batch = random_batch(3, 5, 6)
    agent.loss(agent.errors(batch), batch).backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is None for p in agent.target.parameters())
    assert not agent.targets(batch).requires_grad


# Replay.


def filled(steps: int, capacity: int = 64, copies: int = 2) -> Replay:
    memory = Replay(capacity, copies, 1, 1, 3, torch.device("cpu"))
    for step in range(steps):
        now = torch.full((copies, 1), float(step))
        memory.add(
            observation=now[..., None],
            mask=torch.ones((copies, 1, 3)),
            action=torch.zeros((copies, 1)),
            reward=now + torch.tensor([[0.0], [100.0]]),
            discount=torch.full((copies,), 0.5),
            last=torch.tensor([step % 5 == 4, False]),
            valid=torch.tensor([step % 5 != 0 or step == 0, True]),
        )
    return memory


def test_transitions_reach_the_steps_that_followed() -> None:
    memory = filled(20)
    rows = torch.arange(2 * 16)
    batch = memory.gather(rows, torch.ones(32), 3)
    for row in range(32):
        step, copy = divmod(row, 2)
        ends = (step // 5 + 1) * 5 - 1 if copy == 0 else 99
        last = min(step + 2, ends)
        expected = sum(0.5 ** (s - step) * (s + 100 * copy) for s in range(step, last + 1))
        assert float(batch.reward[row, 0]) == pytest.approx(expected)
        assert float(batch.discount[row, 0]) == pytest.approx(0.5 ** (last - step + 1))
        assert float(batch.next_observation[row, 0, 0]) == last + 1


@pytest.mark.parametrize("prioritized", [False, True])
@pytest.mark.parametrize("steps", [20, 100])
def test_samples_are_complete_and_really_acted(prioritized: bool, steps: int) -> None:
    memory = filled(steps)
    batch = memory.sample(4000, 1, generator(), prioritized, 0.4)
    used = batch.weight[:, 0] > 0
    seen = batch.observation[used, 0, 0]
    oldest = max(0, steps - memory.steps)
    assert seen.min() >= oldest
    assert seen.max() == steps - 2
    idle = (batch.index % 2 == 0) & (batch.observation[:, 0, 0] % 5 == 0) & (batch.observation[:, 0, 0] > 0)
    assert not (idle & used).any()
    torch.testing.assert_close(batch.next_observation[used], batch.observation[used] + 1)


def test_priorities_set_frequencies_and_weights() -> None:
    memory = filled(20)
    memory.priority[:] = torch.where(memory.priority > 0, 1.0, 0.0)
    memory.update(torch.tensor([3]), torch.tensor([8.0]), 0.5)
    batch = memory.sample(20_000, 1, generator(), True, 0.7)
    probability = memory.priority.clone()
    probability[38:] = 0.0
    probability = probability / probability.sum()
    found = torch.bincount(batch.index, minlength=probability.numel()) / 20_000
    torch.testing.assert_close(found, probability, atol=2e-3, rtol=0.05)
    raw = (38 * probability[batch.index]) ** -0.7
    torch.testing.assert_close(batch.weight[:, 0], raw / raw.max(), rtol=1e-4, atol=1e-5)


# Acting.


def test_masked_actions_are_never_chosen() -> None:
    env = sequential_env()
    agent = agent_for(env)
    agent.begin(env, 1000)
    for _ in range(60):
        before = agent._mask
        action = agent._explore()
        assert bool(before.gather(-1, action[..., None]).all())
        agent.advance()
    observation = np.random.default_rng(0).random((500, agent.shape.observation_size), np.float32)
    mask = np.random.default_rng(1).random((500, agent.shape.num_actions)) < 0.3
    mask[~mask.any(axis=1), 2] = True
    actions = agent.act(observation, mask)
    assert isinstance(actions, np.ndarray)
    assert mask[np.arange(500), actions].all()
    assert isinstance(agent.act(torch.as_tensor(observation)), torch.Tensor)


def test_exploration_falls_as_stated() -> None:
    env = sequential_env()
    agent = agent_for(env, exploration_end=0.1, exploration_share=0.5, learning_rate_end=0.0)
    agent.begin(env, 1000)
    for transitions, exploration, share in ((0, 1.0, 1.0), (250, 0.55, 0.75), (500, 0.1, 0.5), (1000, 0.1, 0.0)):
        agent.transitions = transitions
        assert agent.exploration == pytest.approx(exploration)
        assert agent.learning_rate == pytest.approx(agent.settings.learning_rate * share)


# A decision process with known values.


class Chain(VectorEnv[Any, Any, Any]):
    """Five places in a row. Right moves on, left returns to the first; the last pays 1 and ends, left pays 0.1."""

    def __init__(self, copies: int) -> None:
        self.num_envs = copies
        self.metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}
        self.single_observation_space = spaces.Box(0.0, 1.0, (5,), np.float32)
        self.single_action_space = spaces.Discrete(3)
        self._place = np.zeros(copies, np.int64)
        self._over = np.zeros(copies, np.bool_)

    def _seen(self) -> tuple[np.ndarray, dict[str, Any]]:
        mask = np.tile(np.array([1, 1, 0], np.int8), (self.num_envs, 1))
        return np.eye(5, dtype=np.float32)[self._place], {"action_mask": mask}

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        self._place[:], self._over[:] = 0, False
        return self._seen()

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        assert (actions < 2).all(), "a masked action was chosen"
        right = actions == 1
        ends = right & (self._place == 4) & ~self._over
        reward = np.where(self._over, 0.0, np.where(ends, 1.0, np.where(right, 0.0, 0.1)))
        self._place = np.where(self._over | ~right, 0, np.minimum(self._place + 1, 4))
        self._over = ends
        return self._seen()[0], reward, ends, np.zeros_like(ends), self._seen()[1]


@pytest.mark.parametrize("settings", [{"priority": 0.0}, {"priority": 0.6}])
def test_known_values_are_learned(settings: dict[str, Any]) -> None:
    gamma = 0.9
    values = {(place, 1): gamma ** (4 - place) for place in range(5)}
    best = [max(gamma ** (4 - place), 0.1 + gamma * gamma**4) for place in range(5)]
    for _ in range(200):
        values = {(place, 1): 1.0 if place == 4 else gamma * best[place + 1] for place in range(5)}
        values |= {(place, 0): 0.1 + gamma * best[0] for place in range(5)}
        best = [max(values[place, 0], values[place, 1]) for place in range(5)]
    env = Chain(16)
    options = {"network": "independent", "hidden": (64,), "discount": gamma, "reward_scale": 1.0, "replay": 8192}
    schedule = {"exploration_start": 1.0, "exploration_end": 1.0, "learn_after": 256, "learning_rate": 3e-3}
    agent = D3QN.for_env(env, D3QNSettings.create({**FAST, "batch": 128, **options, **schedule, **settings}))
    agent.train(env, 60_000)
    with torch.no_grad():
        learned = agent.values(torch.eye(5)[:, None])[:, 0]
    for (place, action), value in values.items():
        assert float(learned[place, action]) == pytest.approx(value, abs=1e-2), (place, action)


@pytest.mark.parametrize("network", ["independent", "pairs"])
def test_the_average_of_weights_decides_what_acts_and_what_is_saved(tmp_path: Path, network: str) -> None:
    env = sequential_env() if network == "pairs" else envs.vector_env("association", 8, **SMALL)
    hidden = (8, 8) if network == "pairs" else (8,)
    agent = agent_for(env, network=network, hidden=hidden, weight_average=0.75, learn_after=16, priority=0.0)
    agent.begin(env, 10_000)
    while not agent.updates:
        agent.advance()
    mean = {name: value.clone() for name, value in agent.averaged.state_dict().items()}
    for _ in range(5):
        agent.advance()
        own = agent.online.state_dict()
        for name in dict(agent.online.named_parameters()):
            mean[name] = 0.75 * mean[name] + 0.25 * own[name]
    assert agent.updates == 6
    for name, value in agent.averaged.state_dict().items():
        torch.testing.assert_close(value, mean[name], rtol=1e-5, atol=1e-7)
    seen = np.asarray(env.reset(seed=1)[0])
    if network == "independent":
        seen = seen.reshape(8, agent.shape.agents, -1)
    agent.save(tmp_path / "agent.safetensors")
    np.testing.assert_array_equal(agent.act(seen), D3QN.load(tmp_path / "agent.safetensors").act(seen))
    assert equal(weights(tmp_path / "agent.safetensors"), agent.averaged.state_dict())


@pytest.mark.parametrize(("last_round", "kept"), [("truncates", 0.9), ("terminates", 0.0)])
def test_values_reach_beyond_a_last_round_unless_the_task_is_over_with_it(last_round: str, kept: float) -> None:
    env = envs.vector_env("association", 4, **{**SMALL, "max_cycles": 2})
    options = {"network": "independent", "hidden": (8,), "discount": 0.9, "last_round": last_round}
    agent = D3QN.for_env(env, D3QNSettings.create({**FAST, **options}))
    agent.begin(env, 1000)
    for _ in range(6):
        agent.advance()
    tensors = agent.memory.tensors()
    discount, last = (tensors[name].reshape(6, 4) for name in ("discount", "last"))
    assert last[1].all()
    np.testing.assert_allclose(discount[0], 0.9)
    np.testing.assert_allclose(discount[1], kept)


# Interruptions.


def small_run(folder: Path, steps: int = 3000, **options: Any) -> tuple[D3QN, dict[str, float]]:
    env = sequential_env(16)
    agent = agent_for(env)
    schedule = Schedule(steps=steps, score_every=500, checkpoint_every=2)
    return agent, train(agent, env, schedule, folder=folder, **options)


@pytest.mark.parametrize("view", ["sequential", "simultaneous", "budgets", "torch"])
def test_resumed_training_is_the_same_to_the_bit(tmp_path: Path, view: str) -> None:
    options: dict[str, dict[str, Any]] = {
        "sequential": {"decisions": "sequential"},
        "simultaneous": {},
        "budgets": {"decisions": "sequential", "energy_budget_low": 50.0, "energy_budget_high": 2000.0},
        "torch": {"device": "cpu"},
    }

    def make() -> tuple[D3QN, Any]:
        env = envs.vector_env("association", 16, **{**SMALL, **options[view]})
        own = {"network": "independent", "hidden": (16, 8), "priority": 0.0, "weight_average": 0.9}
        return agent_for(env, **({} if env.system.turns else own)), env

    assert_resumes(make, Schedule(steps=2400, score_every=400), (400, 1200, 1600, 2000), tmp_path)


COMMAND = (
    "association --num-clients 4 --num-channels 3 --num-servers 2 --num-envs 64 --replay 40000 --batch 32 "
    "--steps 60000 --score-every 2000 --checkpoint-every 1 --held-out 8 --learn-after 500"
)


def test_killed_at_any_moment_training_ends_with_the_same_weights(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    undisturbed = start(COMMAND, whole)
    rng = np.random.default_rng(0)
    for kill in range(5):
        process = start(COMMAND, parts)
        checkpoint = parts / CHECKPOINT
        before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        wait_for(lambda: checkpoint.exists() and checkpoint.stat().st_mtime_ns > before, process)  # noqa: B023
        if kill == 2:
            wait_for(lambda: any(parts.glob("*.tmp")), process)
        else:
            time.sleep(rng.uniform(0.0, 0.4))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        if kill == 2:
            assert list(parts.glob("*.tmp")), "the kill did not hit a write"
        assert len((parts / LOG).read_text().splitlines()) < 30
    process = start(COMMAND, parts)
    for run in (undisturbed, process):
        output, _ = run.communicate()
        assert run.returncode == 0, output
    assert_same_training(whole, parts)
    assert not list(parts.glob("*.tmp"))


def test_a_folder_of_another_run_is_refused(tmp_path: Path) -> None:
    small_run(tmp_path, identity={"observation": "sequential"})
    with pytest.raises(ValueError, match="observation = sequential, not other"):
        small_run(tmp_path, identity={"observation": "other"})


@pytest.mark.parametrize("damage", ["truncated", "garbage", "empty"])
def test_damaged_checkpoints_are_named(tmp_path: Path, damage: str) -> None:
    small_run(tmp_path)
    path = tmp_path / CHECKPOINT
    data = path.read_bytes()
    path.write_bytes({"truncated": data[: len(data) // 2], "garbage": b"x" * 100, "empty": b""}[damage])
    with pytest.raises(ValueError, match="is not a checkpoint, or is damaged"):
        small_run(tmp_path)


# Best model, early stop, files.


def test_the_best_is_kept_and_training_stops_when_nothing_improves(tmp_path: Path) -> None:
    ratios = iter([3.0, 1.0, 2.0, 1.5, 1.2, 0.5, 0.4])
    seen: list[dict[str, torch.Tensor]] = []

    def score(agent: Any) -> dict[str, float]:
        seen.append({name: tensor.clone() for name, tensor in agent.online.state_dict().items()})
        return {"ratio": next(ratios)}

    env = sequential_env(16)
    facts = train(
        agent_for(env), env, Schedule(steps=10_000, score_every=200, patience=3), folder=tmp_path, score=score
    )
    assert facts["ratio"] == 1.2
    assert facts["best_ratio"] == 1.0
    assert equal(weights(tmp_path / BEST), seen[1])
    assert not equal(seen[1], seen[2])


def test_saved_agents_act_alike(tmp_path: Path) -> None:
    agent, _ = small_run(tmp_path)
    agent.about = {"note": "kept"}
    agent.save(tmp_path / "agent.safetensors")
    loaded = D3QN.load(tmp_path / "agent.safetensors")
    observation = np.random.default_rng(0).random((50, agent.shape.observation_size), np.float32)
    np.testing.assert_array_equal(agent.act(observation), loaded.act(observation))
    assert loaded.about == {"note": "kept"}
    assert loaded.settings == agent.settings
    larger = sequential_env(2, num_clients=6, num_channels=5)
    wide = D3QN.load(tmp_path / "agent.safetensors", env=larger)
    seen, infos = larger.reset(seed=0)
    assert wide.act(seen, infos["action_mask"]).shape == (2,)


def test_weights_with_the_old_name_of_a_setting_are_read(tmp_path: Path) -> None:
    agent, path = small_run(tmp_path)[0], tmp_path / "agent.safetensors"
    agent.save(path)
    tensors, values = read_checkpoint(path)
    values["settings"]["optimiser"] = values["settings"].pop("optimizer")
    write_checkpoint(path, tensors, values)
    assert D3QN.load(path).settings == agent.settings


def test_bad_files_and_shapes_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="did you mean 'association-sequential'"):
        D3QN.load("association-sequentiel")
    write_checkpoint(tmp_path / "other.safetensors", {"x": torch.zeros(2)}, {"agent": "ddpg"})
    with pytest.raises(ValueError, match="holds ddpg, not d3qn"):
        D3QN.load(tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="network 'pairs' needs sequential decisions"):
        D3QN.for_env(envs.vector_env("association", 2, **SMALL))
    with pytest.raises(ValueError, match="learning_rate is -1"):
        D3QNSettings(learning_rate=-1.0)
    with pytest.raises(ValueError, match=r"hidden\[1\] is 0, must be at least 1"):
        D3QNSettings(hidden=(4, 0))
    env = sequential_env(2)
    agent = agent_for(env)
    with pytest.raises(ValueError, match="the environment has"):
        agent.begin(sequential_env(2, num_clients=5, num_channels=4), 100)
    with pytest.raises(ValueError, match="must be Discrete"):
        Shape.of(gymnasium.make_vec("Pendulum-v1", 2))


def test_what_can_not_be_learned_from_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must be NEXT_STEP"):
        agent_for(sequential_env()).begin(sequential_env(autoreset_mode="SameStep"), 100)
    env = sequential_env(8)
    with pytest.raises(ValueError, match="must be more than n_step = 16"):
        agent_for(env, replay=64, n_step=16).begin(env, 100)
    with pytest.raises(ValueError, match=r"hidden = \(8, 8\)"):
        agent_for(env).start_from(agent_for(env, hidden=(8, 8)))
    agent_for(env).train(env, 200, folder=tmp_path)
    with pytest.raises(ValueError, match="agent_seed = 0, not 7"):
        D3QN.for_env(env, D3QNSettings.create(FAST), seed=7).train(env, 200, folder=tmp_path)


def test_a_resumed_environment_that_can_not_be_stored_is_named(tmp_path: Path) -> None:
    env = Chain(4)
    agent = D3QN.for_env(env, D3QNSettings.create({**FAST, "network": "independent", "hidden": (8,)}))
    with pytest.raises(ValueError, match=r"Chain has no state_dict\(\)"):
        agent.train(env, 200, folder=tmp_path)


def test_learning_improves_on_twins_never_seen() -> None:
    """Some seconds of training at a small size: far better than at the start, and near swap matching."""
    small: dict[str, Any] = {"num_clients": 5, "num_channels": 2, "decisions": "sequential"}
    env = envs.vector_env("association", 32, positions="round", dtype="float32", **small)
    settings = {"replay": 2**14, "batch": 128, "learn_after": 1024, "exploration_share": 0.3, "reward_scale": 1.0}
    agent = D3QN.for_env(env, D3QNSettings.create(settings))
    score = HeldOut(envs.make_system("association", **small), 4000)
    before = score(agent)["ratio_median"]
    agent.train(env, 60_000)
    after = score(agent)["ratio_median"]
    assert before > 3.0
    assert after < 1.3
