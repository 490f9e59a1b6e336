"""The learner of numbers and relaxed choices: values and losses against plain loops, what it remembers, resuming."""

import math
import signal
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fedtwin.envs as envs
import gymnasium
import numpy as np
import pytest
import torch
from fedtwin.agents import DDPG, DDPGSettings
from fedtwin.agents.ddpg import BoxShape
from fedtwin.agents.networks import AgentCritic, AgentLayers, AgentNetwork, StackedLinear
from fedtwin.agents.replay import Batch
from fedtwin.agents.training import BEST, CHECKPOINT, Schedule
from fedtwin.core.checkpoint import read_checkpoint, write_checkpoint
from fedtwin.core.log import LOG
from fedtwin.envs.simulator import Simulator
from fedtwin.evaluation.held_out import HeldOut
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from test_agents import generator
from torch import Tensor, nn
from trainings import assert_resumes, assert_same_training, equal, start, wait_for

SMALL: dict[str, dict[str, Any]] = {
    "split_point": {"num_vehicles": 3, "reward_rule": "own", "violation_weight": 2.0},
    "quantization": {"num_clients": 4, "num_channels": 2, "reward_rule": "own"},
}
FAST: dict[str, Any] = {"hidden": (8, 6), "replay": 512, "batch": 16, "learn_after": 64}
AGENTS, ROWS = 3, 7
NETWORKS = ["shared", "independent"]
MODES = [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP]


def settings_of(**settings: Any) -> DDPGSettings:
    return DDPGSettings.create({**FAST, **settings})


def agent_of(choices: int, agents: int = AGENTS, seed: int = 0, **settings: Any) -> DDPG:
    """An agent that sees 4 numbers and gives 2 beside its scores."""
    return DDPG(BoxShape(agents, 4, choices + 2, choices), settings_of(**settings), seed=seed)


def env_of(name: str, copies: int = 4, **options: Any) -> Any:
    return envs.vector_env(name, copies, **{**SMALL[name], **options})


def random_batch(choices: int) -> Batch:
    rng = generator(5)

    def numbers(*shape: int) -> Tensor:
        return torch.rand((ROWS, AGENTS, *shape), generator=rng)

    mask = numbers(choices) < 0.5
    mask[..., :1] = True
    return Batch(
        observation=numbers(4),
        action=2.0 * numbers(choices + 2) - 1.0,
        reward=numbers(),
        discount=torch.tensor([0.0, 0.9] * ROWS)[:ROWS, None],
        next_observation=numbers(4),
        next_mask=mask,
        weight=(torch.arange(ROWS) % 3 > 0).float()[:, None],
        index=torch.arange(ROWS),
    )


# Networks, in plain loops over rows and agents.


def layers_of(layers: AgentLayers, agent: int, x: np.ndarray) -> np.ndarray:
    for layer in layers.layers:
        assert isinstance(layer, StackedLinear)
        own = agent if layers.independent else 0
        x = x @ layer.weight[own].detach().double().numpy() + layer.bias[own, 0].detach().double().numpy()
        x = np.maximum(x, 0.0) if layers.rectified else x
    return x


def plain_actor(network: AgentNetwork, seen: np.ndarray) -> np.ndarray:
    """Outputs `(agents, outputs)` before the tanh, of one row."""
    first = [layers_of(network.first, n, row) for n, row in enumerate(seen)]
    pooled = sum(first) / len(first)
    joined = [np.concatenate([own, pooled]) for own in first]
    return np.array([layers_of(network.last, n, layers_of(network.rest, n, x)) for n, x in enumerate(joined)])


def plain_critic(network: AgentCritic, seen: np.ndarray, numbers: np.ndarray, choice: np.ndarray) -> np.ndarray:
    """Values `(agents, max(1, choices))` of one row."""
    own, others = [], []
    for n in range(len(seen)):
        x = np.concatenate([seen[n], numbers[n]])
        own.append(layers_of(network.own, n, x))
        others.append(layers_of(network.everyone, n, np.concatenate([x, choice[n]])))
    joined = [np.concatenate([x, sum(others) / len(others)]) for x in own]
    return np.array([layers_of(network.last, n, layers_of(network.rest, n, x)) for n, x in enumerate(joined)])


def relaxed(scores: np.ndarray, legal: np.ndarray, scale: float) -> np.ndarray:
    """Softmax over legal choices, choice by choice."""
    powers = [math.exp(scale * s) if allowed else 0.0 for s, allowed in zip(scores, legal, strict=True)]
    return np.array([power / sum(powers) for power in powers])


def plain_values(agent: DDPG, network: Any, seen: Tensor, action: np.ndarray, choice: np.ndarray) -> list[float]:
    """Each agent's value in one row: the sum over its choices of probability times value."""
    choices = agent.shape.num_choices
    each = plain_critic(network, seen.double().numpy(), action[:, choices:], choice)
    if not choices:
        return [float(row[0]) for row in each]
    return [sum(float(p) * float(q) for p, q in zip(choice[n], each[n], strict=True)) for n in range(len(each))]


def acted(agent: DDPG, network: Any, seen: Tensor, mask: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What an actor gives in one row: before the tanh, after it, and its relaxed choices."""
    before = plain_actor(network, seen.double().numpy())
    action, choices = np.tanh(before), agent.shape.num_choices
    choice = [
        relaxed(action[n, :choices], mask[n].numpy(), agent.settings.score_scale) if choices else np.zeros(0)
        for n in range(len(before))
    ]
    return before, action, np.array(choice)


@pytest.mark.parametrize("choices", [0, 3])
@pytest.mark.parametrize("network", NETWORKS)
def test_targets_and_critic_loss_equal_plain_loops(network: str, choices: int) -> None:
    agent = agent_of(choices, network=network, hidden=(8, 6, 5), discount=0.9)
    other = agent_of(choices, network=network, hidden=(8, 6, 5), seed=1)
    agent.target_actor.load_state_dict(other.actor.state_dict())
    agent.target_critic.load_state_dict(other.critic.state_dict())
    batch, loss = random_batch(choices), 0.0
    found = agent.targets(batch)
    for row in range(ROWS):
        _, action, choice = acted(agent, agent.target_actor, batch.next_observation[row], batch.next_mask[row])
        following = plain_values(agent, agent.target_critic, batch.next_observation[row], action, choice)
        done = batch.action[row].double().numpy()
        made = np.array([np.arange(choices) == np.argmax(done[n, :choices]) for n in range(AGENTS)] if choices else [])
        made = made.astype(float).reshape(AGENTS, choices)
        values = plain_values(agent, agent.critic, batch.observation[row], done, made)
        for n in range(AGENTS):
            y = float(batch.reward[row, n]) + float(batch.discount[row, 0]) * following[n]
            assert float(found[row, n]) == pytest.approx(y, abs=1e-6)
            error = abs(values[n] - y)
            huber = 0.5 * error**2 if error < 1.0 else error - 0.5
            loss += float(batch.weight[row, 0]) * huber / (ROWS * AGENTS)
    assert agent.critic_loss(batch).item() == pytest.approx(loss, rel=1e-5)
    assert not found.requires_grad


@pytest.mark.parametrize("mixing", ["mean", "worst"])
@pytest.mark.parametrize("choices", [0, 3])
@pytest.mark.parametrize("network", NETWORKS)
def test_actor_loss_equals_plain_loops(network: str, choices: int, mixing: str) -> None:
    weighted: dict[str, Any] = {
        "entropy_start": 0.5,
        "entropy_end": 0.1,
        "saturation": 0.2,
        "worst_sharpness": 4.0,
        "score_scale": 3.0,
    }
    agent = agent_of(choices, network=network, hidden=(8, 6, 5), mixing=mixing, **weighted)
    agent.transitions, agent.total = 1, 2
    batch, loss = random_batch(choices), 0.0
    for row in range(ROWS):
        before, action, choice = acted(agent, agent.actor, batch.observation[row], batch.next_mask[row])
        values = plain_values(agent, agent.critic, batch.observation[row], action, choice)
        team = sum(values) / AGENTS
        if mixing == "worst":
            team = -math.log(sum(math.exp(-4.0 * value) for value in values) / AGENTS) / 4.0
        loss += (-team + 0.2 * float(np.mean(before**2))) / ROWS
        for p in choice.ravel():
            loss -= 0.3 * -(float(p) * math.log(p) if p > 0.0 else 0.0) / (ROWS * AGENTS)
    found = agent.actor_loss(batch.observation, batch.next_mask)
    assert found.item() == pytest.approx(loss, rel=1e-5)
    found.backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is not None and bool(torch.isfinite(p.grad).all()) for p in agent.actor.parameters())


def test_illegal_choices_have_probability_zero() -> None:
    agent, batch = agent_of(5), random_batch(5)
    choice = agent.choices(batch.action[..., :5], batch.next_mask)
    assert not choice[~batch.next_mask].any()
    assert bool((choice[batch.next_mask] > 0.0).all())
    torch.testing.assert_close(choice.sum(dim=-1), torch.ones((ROWS, AGENTS)))


@pytest.mark.parametrize("sharpness", [0.1, 10.0, 1000.0])
def test_the_worst_agents_value_lies_between_the_minimum_and_the_mean(sharpness: float) -> None:
    agent = agent_of(0, agents=5, mixing="worst", worst_sharpness=sharpness)
    values = torch.randn((50, 5), generator=generator(), dtype=torch.float64)
    worst, least = agent.mixed(values), values.min(dim=1).values
    assert bool((worst >= least - 1e-9).all())
    assert bool((worst <= torch.minimum(values.mean(dim=1), least + math.log(5) / sharpness) + 1e-9).all())
    same = agent.mixed(torch.full((2, 5), 0.7, dtype=torch.float64))
    torch.testing.assert_close(same, torch.full((2,), 0.7, dtype=torch.float64))
    torch.testing.assert_close(agent_of(0, mixing="mean").mixed(values), values.mean(dim=1))


def test_targets_of_a_single_round_are_its_rewards() -> None:
    agent, batch = agent_of(3, discount=0.0), random_batch(3)
    batch.discount.zero_()
    assert agent.targets(batch) is batch.reward


def linear(layer: Any, agent: int) -> nn.Linear:
    """A layer of PyTorch's own with an agent's weights."""
    own = nn.Linear(layer.weight.shape[1], layer.weight.shape[2])
    own.load_state_dict({"weight": layer.weight[agent].T, "bias": layer.bias[agent, 0]})
    return own


def test_stacked_networks_equal_separate_ones() -> None:
    """Values and gradients are those of networks built one by one."""
    x, choice = torch.rand((6, 3, 4), generator=generator(1)), torch.rand((6, 3, 2), generator=generator(2))
    actor = AgentNetwork(3, 4, 2, (8, 6, 5), generator(), independent=True)
    critic = AgentCritic(3, 4, 2, (8, 6), generator(), independent=True)
    first = [linear(actor.first.layers[0], n) for n in range(3)]
    own = [linear(critic.own.layers[0], n) for n in range(3)]
    everyone = [linear(critic.everyone.layers[0], n) for n in range(3)]

    def rest(network: Any, n: int) -> nn.Sequential:
        parts = [part for layer in network.rest.layers for part in (linear(layer, n), nn.ReLU())]
        return nn.Sequential(*parts, linear(network.last.layers[0], n))

    heads = [[rest(network, n) for n in range(3)] for network in (actor, critic)]
    seen = [torch.relu(first[n](x[:, n])) for n in range(3)]
    mine = [torch.relu(own[n](x[:, n])) for n in range(3)]
    theirs = [torch.relu(everyone[n](torch.cat([x[:, n], choice[:, n]], dim=1))) for n in range(3)]
    for head, parts, pooled, found in (
        (heads[0], seen, seen, actor(x)),
        (heads[1], mine, theirs, critic(x, choice)),
    ):
        mean = torch.stack(pooled).mean(dim=0)
        expected = torch.stack([head[n](torch.cat([parts[n], mean], dim=1)) for n in range(3)], dim=1)
        torch.testing.assert_close(found, expected)
        found.square().sum().backward()
        expected.square().sum().backward()  # type: ignore[no-untyped-call]
    for network, single in ((actor, first), (critic.own, own), (critic.everyone, everyone)):
        layer: Any = (network.first if isinstance(network, AgentNetwork) else network).layers[0]
        for n in range(3):
            torch.testing.assert_close(layer.weight.grad[n], single[n].weight.grad.T)  # type: ignore[union-attr]


def test_shared_networks_do_not_know_the_agents_order() -> None:
    x, choice = torch.rand((6, 5, 4), generator=generator(1)), torch.rand((6, 5, 2), generator=generator(2))
    order = torch.tensor([3, 0, 4, 1, 2])
    actor = AgentNetwork(5, 4, 2, (8, 6), generator(), independent=False)
    critic = AgentCritic(5, 4, 2, (8, 6), generator(), independent=False)
    torch.testing.assert_close(actor(x[:, order]), actor(x)[:, order])
    torch.testing.assert_close(critic(x[:, order], choice[:, order]), critic(x, choice)[:, order])
    assert (actor(x)[:, 0] != actor(x[:, :1])[:, 0]).any(), "the others are not seen"


# Exploring and remembering.


def test_exploration_stays_in_the_box_and_choices_are_legal() -> None:
    env = env_of("split_point", 64, max_cycles=2)
    agent = DDPG.for_env(env, settings_of(noise_start=3.0, noise_end=3.0, exploration_start=1.0))
    agent.begin(env, 10**6)
    cuts = agent.shape.num_choices
    illegal, chosen, chance = 0, torch.zeros(cuts), torch.zeros(cuts)
    for _ in range(20):
        mask, action = agent._mask, agent._explore()
        assert float(action.abs().max()) <= 1.0
        assert bool((action[..., cuts:].abs() == 1.0).any()), "the noise is not clipped"
        assert bool((action[..., :cuts][~mask] == -1.0).all())
        picked = nn.functional.one_hot(action[..., :cuts].argmax(dim=-1), cuts).bool()
        assert bool(mask[picked].all())
        chosen += picked.sum(dim=(0, 1))
        chance += (mask / mask.sum(dim=-1, keepdim=True)).sum(dim=(0, 1))
        illegal += int((~mask).sum())
        agent.advance()
    assert illegal > 100
    torch.testing.assert_close(chosen, chance, rtol=0.15, atol=20.0)


def test_without_exploration_agents_do_what_the_actor_says() -> None:
    env = env_of("split_point", 8)
    agent = DDPG.for_env(env, settings_of(noise_start=0.0, exploration_start=0.0, noise_end=0.0, exploration_end=0.0))
    agent.begin(env, 100)
    seen, mask = agent._observation.numpy(), agent._mask.numpy()
    np.testing.assert_allclose(agent._explore().numpy(), agent.act(seen, mask), atol=1e-6)
    flat = agent.act(seen.reshape(8, -1), mask.reshape(8, -1))
    np.testing.assert_array_equal(flat, agent.act(seen, mask).reshape(8, -1))
    assert isinstance(agent.act(torch.as_tensor(seen)), Tensor)


def test_schedules_fall_as_stated() -> None:
    env = env_of("split_point", 4)
    wanted = {"noise_start": 0.8, "noise_end": 0.2, "exploration_start": 1.0, "exploration_end": 0.5}
    rates = {"learning_rate": 2e-3, "learning_rate_end": 0.0, "exploration_share": 0.5}
    agent = DDPG.for_env(env, settings_of(**wanted, **rates, entropy_start=0.2, entropy_end=0.0))
    agent.begin(env, 1000)
    for transitions, noise, exploration, rate in ((0, 0.8, 1.0, 2e-3), (250, 0.5, 0.75, 1.5e-3), (900, 0.2, 0.5, 2e-4)):
        agent.transitions = transitions
        assert agent.entropy == pytest.approx(100.0 * rate)
        assert agent.noise == pytest.approx(noise)
        assert agent.exploration == pytest.approx(exploration)
        assert agent.learning_rate == pytest.approx(rate)


@pytest.mark.parametrize("learn_from", ["asked", "decided"])
@pytest.mark.parametrize("rounds", [1, 3])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", SMALL)
def test_the_memory_holds_what_single_copies_earn(
    name: str, mode: AutoresetMode, rounds: int, learn_from: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rewards and choices of every step, whether episodes begin anew in the same step or in one that nobody plays."""
    discount = 0.9 if mode is AutoresetMode.NEXT_STEP else 0.0
    env = env_of(name, 3, autoreset_mode=mode, max_cycles=rounds)
    system = env.system
    agent = DDPG.for_env(
        env, settings_of(reward_scale=0.5, learn_from=learn_from, learn_after=10**6, discount=discount)
    )
    explore, asked = agent._explore, []

    def exploring() -> Tensor:
        asked.append(explore())
        return asked[-1]

    monkeypatch.setattr(agent, "_explore", exploring)
    agent.begin(env, 10**6, seed=5)
    steps, changed, earned = 9, 0, []
    for _ in range(steps):
        agent.advance()
    stored = {n: t.reshape(steps, 3, *t.shape[1:]) for n, t in agent.memory.tensors().items() if n != "largest"}
    for copy in range(3):
        single, over = Simulator(system), False
        single.reset(5 + copy)
        played = 0
        for step in range(steps):
            assert bool(stored["priority"][step, copy] > 0) is not over
            np.testing.assert_array_equal(stored["observation"][step, copy], single.visible()[0])
            if over:
                single.reset()
                over = False
                continue
            action = asked[step][copy].numpy()
            ruling = system.rule(system.problem(single.seen), action[None])
            outcome = single.play(ruling.decision, ruling)
            np.testing.assert_allclose(stored["reward"][step, copy], 0.5 * outcome.reward[0], rtol=1e-6)
            choices = system.actions_of(outcome.decision)[0, :, : system.num_actions]
            changed += int((choices.argmax(-1) != action[:, : system.num_actions].argmax(-1)).sum())
            wanted = action.copy()
            if learn_from == "decided":
                wanted[:, : system.num_actions] = choices
            np.testing.assert_array_equal(stored["action"][step, copy], wanted)
            np.testing.assert_array_equal(stored["mask"][step, copy].any(-1), True)
            earned.append(0.5 * float(outcome.reward.mean()))
            played += 1
            ends = played % rounds == 0
            assert bool(stored["last"][step, copy]) is ends
            assert float(stored["discount"][step, copy]) == pytest.approx(discount)
            if ends and mode is AutoresetMode.SAME_STEP:
                single.reset()
            over = ends and mode is AutoresetMode.NEXT_STEP
    assert changed or name == "split_point", "no choice was decided otherwise than asked"
    assert agent.take_measures()["reward"] == pytest.approx(float(np.mean(earned)), rel=1e-5)


def test_a_discount_needs_ends_that_are_seen() -> None:
    env = env_of("split_point", autoreset_mode=AutoresetMode.SAME_STEP)
    with pytest.raises(ValueError, match="must be NEXT_STEP: ends are learned from"):
        DDPG.for_env(env, settings_of(discount=0.9)).begin(env, 100)
    DDPG.for_env(env, settings_of(discount=0.0)).begin(env, 100)


# Problems whose best actions are known.


class Aim(VectorEnv[Any, Any, Any]):
    """Each of three agents is to answer its two numbers s with f(s); every step is an episode."""

    def __init__(self, copies: int) -> None:
        self.num_envs = copies
        self.metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}
        self.system = SimpleNamespace(agents=("a", "b", "c"), num_actions=0)
        self.single_observation_space = spaces.Box(0.0, 1.0, (6,), np.float32)
        self.single_action_space = spaces.Box(-1.0, 1.0, (6,), np.float32)

    @staticmethod
    def best(seen: np.ndarray) -> np.ndarray:
        return np.stack([seen[..., 0] * seen[..., 1], 0.6 - 0.9 * seen[..., 0]], axis=-1)

    def _seen(self) -> np.ndarray:
        self._state = self._rng.random((self.num_envs, 3, 2), np.float32)
        return self._state.reshape(self.num_envs, 6)

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        self._rng = np.random.default_rng(seed)
        return self._seen(), {}

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        missed = np.square(actions.reshape(-1, 3, 2) - self.best(self._state)).sum(axis=-1)
        over = np.ones(self.num_envs, np.bool_)
        return self._seen(), -missed.mean(axis=1), over, ~over, {"agent_reward": -missed}


LEARNING: dict[str, Any] = {
    "hidden": (32, 32), "replay": 8192, "batch": 128, "learn_after": 512, "learning_rate": 3e-3,
    "learning_rate_end": 0.0, "noise_start": 0.5, "noise_end": 0.1, "saturation": 0.0, "weight_average": 0.99,
}  # fmt: skip


@pytest.mark.parametrize("mixing", ["mean", "worst"])
def test_continuous_actions_reach_a_known_optimum(mixing: str) -> None:
    env = Aim(32)
    agent = DDPG.for_env(env, DDPGSettings.create({**LEARNING, "mixing": mixing}))
    agent.train(env, 32 * 1000)
    seen = np.random.default_rng(1).random((200, 3, 2), np.float32)
    missed = np.square(agent.act(seen) - Aim.best(seen)).sum(axis=-1)
    assert float(missed.mean()) < 1e-2
    assert float(np.square(Aim.best(seen)).sum(axis=-1).mean()) > 0.1


class Loop(VectorEnv[Any, Any, Any]):
    """Three places in a circle. Place i pays i - (a - f_i)^2 and leads to the next; the first is drawn by chance.

    Episodes are cut off after four steps, or are over behind the last place. The step that only begins anew pays 50,
    which nobody may learn from.
    """

    aims = np.array([0.5, -0.3, 0.1])

    def __init__(self, copies: int, ends: bool) -> None:
        self.num_envs, self._ends = copies, ends
        self.metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}
        self.single_observation_space = spaces.Box(0.0, 1.0, (3,), np.float32)
        self.single_action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        self._rng = np.random.default_rng(seed)
        self._place, self._age = self._rng.integers(3, size=self.num_envs), np.zeros(self.num_envs, np.int64)
        self._over = np.zeros(self.num_envs, np.bool_)
        return np.eye(3, dtype=np.float32)[self._place], {}

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        idle = self._over
        reward = np.where(idle, 50.0, self._place - np.square(actions[:, 0] - self.aims[self._place]))
        last = ~idle & (self._place == 2)
        self._age = np.where(idle, 0, self._age + 1)
        self._place = np.where(idle, self._rng.integers(3, size=self.num_envs), (self._place + 1) % 3)
        terminated = last & self._ends
        truncated = ~idle & ~terminated & (self._age == 4)
        self._over = terminated | truncated
        return np.eye(3, dtype=np.float32)[self._place], reward, terminated, truncated, {}


@pytest.mark.parametrize("ends", [False, True])
def test_known_values_are_learned(ends: bool) -> None:
    gamma, values = 0.8, np.zeros(3)
    for _ in range(200):
        values = np.array([i + gamma * (0.0 if ends and i == 2 else values[(i + 1) % 3]) for i in range(3)])
    env = Loop(16, ends)
    learning = {**LEARNING, "discount": gamma, "target_rate": 0.05}
    agent = DDPG.for_env(env, DDPGSettings.create(learning))
    agent.train(env, 16 * 1000)
    places = torch.eye(3)[:, None]
    actions = agent.act(places)
    with torch.no_grad():
        found = agent.values(agent.critic, places, actions, actions[..., :0])[:, 0]
    np.testing.assert_allclose(actions[:, 0, 0], Loop.aims, atol=0.2)
    np.testing.assert_allclose(found, values, atol=4e-2)


class Fork(Aim):
    """Two agents choose among four and give a number; choice c pays c and asks for the number f_c.

    The best choice is the last, which is illegal where the first number seen is above a half.
    """

    aims = np.array([0.0, 0.5, -0.5, 0.2])

    def __init__(self, copies: int) -> None:
        super().__init__(copies)
        self.system = SimpleNamespace(agents=("a", "b"), num_actions=4)
        self.single_observation_space = spaces.Box(0.0, 1.0, (2,), np.float32)
        self.single_action_space = spaces.Box(-1.0, 1.0, (10,), np.float32)

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        self._rng = np.random.default_rng(seed)
        return self._drawn()

    def _drawn(self) -> tuple[np.ndarray, dict[str, Any]]:
        self._state = self._rng.random((self.num_envs, 2), np.float32)
        return self._state, {"choice_mask": self.legal(self._state).reshape(self.num_envs, -1)}

    @staticmethod
    def legal(seen: np.ndarray) -> np.ndarray:
        mask = np.ones((*seen.shape, 4), np.int8)
        mask[..., 3] = seen <= 0.5
        return mask

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        actions = actions.reshape(-1, 2, 5)
        choice = actions[..., :4].argmax(axis=-1)
        assert np.take_along_axis(self.legal(self._state), choice[..., None], axis=-1).all()
        earned = choice - 0.5 * np.square(actions[..., 4] - self.aims[choice])
        over = np.ones(self.num_envs, np.bool_)
        seen, infos = self._drawn()
        return seen, earned.mean(axis=1), over, ~over, {**infos, "agent_reward": earned}


def test_hybrid_actions_reach_a_known_optimum() -> None:
    env = Fork(32)
    learning = {**LEARNING, "mixing": "mean", "entropy_start": 0.2, "entropy_end": 0.0, "score_scale": 5.0}
    agent = DDPG.for_env(env, DDPGSettings.create(learning))
    agent.train(env, 32 * 1000)
    seen = np.random.default_rng(1).random((200, 2, 1), np.float32)
    actions = agent.act(seen, Fork.legal(seen[..., 0]))
    choice = np.where(seen[..., 0] <= 0.5, 3, 2)
    clear = np.abs(seen[..., 0] - 0.5) > 0.05
    np.testing.assert_array_equal(actions[..., :4].argmax(axis=-1)[clear], choice[clear])
    assert float(np.abs(actions[..., 4] - Fork.aims[choice])[clear].mean()) < 0.2


def test_the_average_of_weights_acts_and_targets_follow() -> None:
    env = env_of("split_point", 8)
    agent = DDPG.for_env(env, settings_of(weight_average=0.75, discount=0.5, target_rate=0.25))
    agent.begin(env, 10**5)
    while not agent.updates:
        agent.advance()
    pairs = ((agent.averaged, agent.actor), (agent.target_actor, agent.actor), (agent.target_critic, agent.critic))
    expected = [{name: value.clone() for name, value in mean.state_dict().items()} for mean, _ in pairs]
    for _ in range(4):
        agent.advance()
        for mean, (_, own) in zip(expected, pairs, strict=True):
            for name, value in own.state_dict().items():
                mean[name] = 0.75 * mean[name] + 0.25 * value
    assert agent.updates == 5
    for mean, (found, _) in zip(expected, pairs, strict=True):
        for name, value in found.state_dict().items():
            torch.testing.assert_close(value, mean[name], rtol=1e-5, atol=1e-7)


# Files.


def trained(folder: Path, name: str = "split_point", **settings: Any) -> DDPG:
    env = env_of(name, 8, max_cycles=2)
    agent = DDPG.for_env(env, settings_of(**settings))
    agent.train(env, 400, folder=folder)
    return agent


@pytest.mark.parametrize("name", SMALL)
def test_saved_agents_act_alike(tmp_path: Path, name: str) -> None:
    agent = trained(tmp_path, name, learn_from="decided")
    agent.about = {"note": "kept"}
    agent.save(tmp_path / "agent.safetensors")
    loaded = DDPG.load(tmp_path / "agent.safetensors")
    seen = np.random.default_rng(0).random((9, agent.shape.agents, agent.shape.observation_size), np.float32)
    np.testing.assert_array_equal(agent.act(seen), loaded.act(seen))
    assert (loaded.shape, loaded.settings, loaded.about) == (agent.shape, agent.settings, {"note": "kept"})
    assert equal(loaded.target_critic.state_dict(), agent.critic.state_dict())
    other = DDPG.for_env(env_of(name), settings_of(), seed=3)
    other.start_from(loaded)
    np.testing.assert_array_equal(agent.act(seen), other.act(seen))


def test_shared_weights_take_another_number_of_agents(tmp_path: Path) -> None:
    agent = trained(tmp_path)
    agent.save(tmp_path / "agent.safetensors")
    larger = env_of("split_point", 6, num_vehicles=5)
    loaded = DDPG.load(tmp_path / "agent.safetensors", env=larger)
    seen, infos = larger.reset(seed=0)
    actions = loaded.act(seen, infos["choice_mask"])
    larger.step(actions)
    each = agent.act(seen.reshape(6, 5, -1), infos["choice_mask"])
    np.testing.assert_array_equal(each.reshape(6, -1), actions)


def test_weights_of_each_agents_own_take_no_other_number(tmp_path: Path) -> None:
    agent = trained(tmp_path, network="independent")
    agent.save(tmp_path / "agent.safetensors")
    with pytest.raises(ValueError, match="they do not fit"):
        DDPG.load(tmp_path / "agent.safetensors", env=env_of("split_point", num_vehicles=5))
    with pytest.raises(ValueError, match="observations are of 5 agents, must be of 3"):
        agent.act(np.zeros((6, 5, agent.shape.observation_size), np.float32))


def test_bad_files_shapes_and_settings_are_named(tmp_path: Path) -> None:
    agent = trained(tmp_path)
    path = tmp_path / "agent.safetensors"
    agent.save(path)
    with pytest.raises(ValueError, match="they do not fit"):
        DDPG.load(path, env=env_of("quantization"))
    data = path.read_bytes()
    for damaged in (data[: len(data) // 2], b"x" * 100, b""):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="is not a checkpoint, or is damaged"):
            DDPG.load(path)
    write_checkpoint(path, {"x": torch.zeros(2)}, {"agent": "d3qn"})
    with pytest.raises(ValueError, match="holds d3qn, not ddpg"):
        DDPG.load(path)
    with pytest.raises(ValueError, match="not ddpg"):
        DDPG.load("association-sequential")
    with pytest.raises(FileNotFoundError, match="unknown agent 'nothing'"):
        DDPG.load("nothing")
    with pytest.raises(ValueError, match=r"hidden is \(8,\), must have two layers or more"):
        agent_of(0, hidden=(8,))
    with pytest.raises(ValueError, match="saturation is -1"):
        settings_of(saturation=-1.0)
    with pytest.raises(ValueError, match=r"hidden = \(8, 6\), this one \(8, 8\)"):
        agent_of(0, hidden=(8, 8)).start_from(agent_of(0))
    with pytest.raises(ValueError, match="the environment has"):
        agent.begin(env_of("split_point", num_vehicles=5), 100)
    with pytest.raises(ValueError, match=r"actions are a MultiDiscrete.*must be a Box in -1\.\.1"):
        BoxShape.of(envs.vector_env("association", 1))
    with pytest.raises(ValueError, match=r"must be a Box in -1\.\.1"):
        BoxShape.of(gymnasium.make_vec("Pendulum-v1", 2))
    with pytest.raises(ValueError, match="leave mask='info'"):
        BoxShape.of(env_of("split_point", mask="observation"))


def test_environments_of_others_are_learned_from_but_not_resumed(tmp_path: Path) -> None:
    env = Aim(4)
    agent = DDPG.for_env(env, settings_of())
    agent.train(env, 100)
    assert agent.updates > 0
    with pytest.raises(ValueError, match=r"Aim has no state_dict\(\)"):
        agent.train(env, 100, folder=tmp_path)


# Interruptions.


@pytest.mark.parametrize("kind", ["rounds", "discounted", "independent", "torch"])
def test_resumed_training_is_the_same_to_the_bit(tmp_path: Path, kind: str) -> None:
    def make() -> tuple[DDPG, Any]:
        name = "quantization" if kind == "torch" else "split_point"
        mode = AutoresetMode.NEXT_STEP if kind == "discounted" else AutoresetMode.SAME_STEP
        options: dict[str, Any] = {"device": "cpu"} if kind == "torch" else {}
        env = env_of(name, 16, autoreset_mode=mode, max_cycles=3, **options)
        kinds: dict[str, dict[str, Any]] = {"discounted": {"discount": 0.9}, "independent": {"network": "independent"}}
        return DDPG.for_env(env, settings_of(learn_from="decided", entropy_start=0.1, **kinds.get(kind, {}))), env

    assert_resumes(make, Schedule(steps=1200, score_every=200), (200, 800, 1000), tmp_path)


COMMAND = (
    "split_point --agent ddpg --num-vehicles 3 --num-envs 64 --replay 4000 --batch 16 --hidden 8 8 --learn-after 500 "
    "--steps 12000 --score-every 400 --checkpoint-every 1 --held-out 4"
)


def test_killed_at_any_moment_training_ends_with_the_same_weights(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    undisturbed, process = start(COMMAND, whole), start(COMMAND, parts)
    wait_for((parts / CHECKPOINT).exists, process)
    time.sleep(np.random.default_rng().uniform(0.0, 0.6))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert len((parts / LOG).read_text().splitlines()) < 30
    for run in (undisturbed, start(COMMAND, parts)):
        output, _ = run.communicate()
        assert run.returncode == 0, output
    assert_same_training(whole, parts)
    assert read_checkpoint(parts / BEST)[1]["agent"] == "ddpg"


def test_learning_improves_on_twins_never_seen() -> None:
    small = {**SMALL["split_point"], "num_vehicles": 6}
    env = envs.vector_env("split_point", 32, max_cycles=1, dtype="float32", autoreset_mode="SameStep", **small)
    agent = DDPG.for_env(env, DDPGSettings.create({**LEARNING, "saturation": 1e-3, "discount": 0.0}))
    score = HeldOut(envs.make_system("split_point", **small), 100)
    before = score(agent)["ratio"]
    agent.train(env, 32 * 400)
    assert score(agent)["ratio"] < 0.85 * before
