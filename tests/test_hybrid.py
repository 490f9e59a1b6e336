"""Learned choices with exact numbers: the environment of their learner, its network, and learners as solvers."""

import pickle
from pathlib import Path
from typing import Any

import fedtwin.envs as envs
import numpy as np
import pytest
import torch
from fedtwin.agents import D3QN, DDPG, D3QNSettings, DDPGSettings
from fedtwin.agents.hybrid import HybridView, as_scores, decide_exactly
from fedtwin.agents.networks import SharedNetworks
from fedtwin.agents.recipes import recipe
from fedtwin.agents.training import Schedule
from fedtwin.baselines import quantization, split_point
from fedtwin.envs.simulator import Simulator
from fedtwin.evaluate import main as evaluate
from fedtwin.evaluation.methods import find_method
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from test_agents import generator, random_batch
from trainings import assert_resumes

SMALL: dict[str, dict[str, Any]] = {
    "split_point": {"num_vehicles": 4, "reward_rule": "own", "max_cycles": 2},
    "quantization": {"num_clients": 5, "num_channels": 3, "reward_rule": "own", "max_cycles": 2},
}
AUTORESET = [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP]
COPIES = 4


def system_of(name: str, **options: Any) -> Any:
    return envs.make_system(name, **{**SMALL[name], **options})


def view_of(name: str, copies: int = COPIES, system: dict[str, Any] | None = None, **options: Any) -> HybridView:
    return HybridView(system_of(name, **(system or {})), copies, **options)


# What is decided, by hand.


def exactly(system: Any, state: Any, asked: np.ndarray) -> Any:
    """The decision of one round `(N,)`: who gets what was asked for, then the allocator's numbers."""
    if system.name == "split_point":
        plain = split_point.plain(system.problem(state))
        cut = np.where(system.problem(state).taking_part, asked, -1)
        return split_point.allocate(plain, split_point.affordable_cut(plain, cut))
    legal, taken = system.mask(state, None), set()
    channel = np.full(asked.shape, -1)
    for client, choice in enumerate(asked.tolist()):
        if choice < system.params.num_channels and legal[client, choice] and choice not in taken:
            channel[client] = choice
            taken.add(choice)
    return quantization.allocate(system.problem(state), channel)


def row(tree: Any, copy: int) -> Any:
    return type(tree)(**{name: getattr(tree, name)[copy] for name in tree.__dataclass_fields__})


@pytest.mark.parametrize("mode", AUTORESET)
@pytest.mark.parametrize("name", SMALL)
def test_rounds_are_those_of_the_exact_decision(name: str, mode: AutoresetMode) -> None:
    view, singles = view_of(name, autoreset_mode=mode), [Simulator(system_of(name)) for _ in range(COPIES)]
    system: Any = view.system
    view.action_space.seed(0)
    view.reset(seed=3)
    for copy, single in enumerate(singles):
        single.reset(3 + copy)
    over, changed = False, 0
    for _ in range(7):
        asked = view.action_space.sample()
        seen, reward, terminated, truncated, infos = view.step(asked)
        assert not terminated.any()
        facts = infos["final_info"] if "final_info" in infos else infos
        for copy, single in enumerate(singles):
            if over:
                single.reset()
                assert (reward[copy], infos["_decided"][copy]) == (0.0, False)
            else:
                decision = exactly(system, row(single.seen, 0), asked[copy])
                batch = type(decision)(**{n: getattr(decision, n)[None] for n in decision.__dataclass_fields__})
                outcome = single.play(batch)
                np.testing.assert_allclose(reward[copy], outcome.reward.mean(), rtol=1e-6)
                np.testing.assert_allclose(facts["agent_reward"][copy], outcome.reward[0], rtol=1e-6)
                played = decision.cut if name == "split_point" else decision.channel
                last = 0 if name == "split_point" else system.params.num_channels
                np.testing.assert_array_equal(facts["decided"][copy], np.where(played < 0, last, played))
                changed += int((facts["decided"][copy] != asked[copy]).sum())
                if mode is AutoresetMode.SAME_STEP and truncated[copy]:
                    single.reset()
            np.testing.assert_array_equal(seen[copy], single.visible().reshape(-1))
            np.testing.assert_array_equal(infos["action_mask"][copy], single.legal().reshape(-1))
        over = bool(truncated.all()) and mode is AutoresetMode.NEXT_STEP
        assert bool(truncated.any()) is bool(truncated.all())
    assert changed or name == "split_point"


def test_contested_channels_go_to_one_device() -> None:
    """All ask for one channel: the first that can use it gets it, the others are told that they got none."""
    view = view_of("quantization", 50)
    _, infos = view.reset(seed=0)
    legal = infos["action_mask"].reshape(50, 5, 4)
    *_, infos = view.step(np.ones((50, 5), np.int64))
    for copy in range(50):
        wanted = np.full(5, 3)
        wanted[np.flatnonzero(legal[copy, :, 1])[:1]] = 1
        np.testing.assert_array_equal(infos["decided"][copy], wanted)
    assert ((infos["decided"] == 1).sum(axis=1) == 1).mean() > 0.9


# The view is one of Gymnasium's.


@pytest.mark.parametrize("mask", ["info", "observation"])
@pytest.mark.parametrize("mode", AUTORESET)
@pytest.mark.parametrize("name", SMALL)
def test_spaces_hold(name: str, mode: AutoresetMode, mask: Any) -> None:
    view = view_of(name, autoreset_mode=mode, mask=mask)
    system = view.system
    agents = len(system.agents)
    assert view.single_action_space == spaces.MultiDiscrete([system.num_actions] * agents)
    assert view.metadata["autoreset_mode"] is mode
    seen, infos = view.reset(seed=0)
    view.action_space.seed(0)
    for _ in range(6):
        assert view.observation_space.contains(seen)
        masks = infos["action_mask"] if mask == "info" else seen["action_mask"]
        assert masks.shape == (COPIES, agents * system.num_actions)
        assert masks.reshape(COPIES, agents, -1).any(axis=-1).all()
        assert view.single_observation_space.contains(
            seen[0] if mask == "info" else {key: value[0] for key, value in seen.items()}
        )
        seen, reward, terminated, truncated, infos = view.step(view.action_space.sample())
        assert reward.shape == terminated.shape == truncated.shape == (COPIES,)
        assert reward.dtype == np.float64
        assert "choice_mask" not in infos


@pytest.mark.parametrize("name", SMALL)
def test_seeds_decide_and_copies_can_be_sent_away(name: str) -> None:
    def trajectory(view: HybridView, seed: int | None) -> list[np.ndarray]:
        view.action_space.seed(0)
        found = [] if seed is None else [view.reset(seed=seed)[0]]
        return found + [part for _ in range(5) for part in view.step(view.action_space.sample())[:2]]

    first, again, other = (trajectory(view_of(name), seed) for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])
    view = view_of(name)
    view.reset(seed=1)
    sent = pickle.loads(pickle.dumps(view))
    for a, b in zip(trajectory(view, None), trajectory(sent, None), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        (np.full((COPIES, 4), 4), r"action\[0\] of vehicle_0 is 4, must be in 0\.\.3"),
        (np.array([[0, 1, 2, 3]] * 3 + [[0, 1, -1, 3]]), r"action\[3\] of vehicle_2 is -1, must be in 0\.\.3"),
        (np.zeros((COPIES, 4)), "action has dtype float64, must be integer"),
        (np.full((COPIES, 4), np.nan), "must be integer"),
        (np.zeros((COPIES, 3), int), r"action has shape \(4, 3\), must be \(4, 4\)"),
        (np.zeros((COPIES, 4, 7), np.float32), "must be integer"),
    ],
)
def test_bad_actions(actions: np.ndarray, message: str) -> None:
    view = view_of("split_point")
    with pytest.raises(ValueError, match="call reset"):
        view.step(np.zeros((COPIES, 4), int))
    view.reset(seed=0)
    before = view.simulator.visible().copy()
    with pytest.raises(ValueError, match=message):
        view.step(actions)
    np.testing.assert_array_equal(view.simulator.visible(), before)


def test_what_has_no_exact_numbers_is_refused() -> None:
    with pytest.raises(ValueError, match="association has no numbers beside its choices"):
        HybridView(envs.make_system("association"), 2)
    with pytest.raises(ValueError, match="device is cpu, must be None"):
        view_of("split_point", device="cpu")
    system = envs.make_system("association")
    with pytest.raises(ValueError, match="association has no exact numbers for given choices"):
        decide_exactly(system, None, np.zeros((16, 40)))


# Values as scores.


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_scores_keep_the_order_of_values_over_all_agents(library: str) -> None:
    values = np.random.default_rng(0).normal(size=(6, 5, 4)) * 100.0
    values[0, 1, 2] = values[3, :, 0] = -np.inf
    values[4], values[5] = 3.0, -np.inf
    with np.errstate(all="raise", under="ignore"):
        found = as_scores(values if library == "numpy" else torch.as_tensor(values))
    assert isinstance(found, np.ndarray) is (library == "numpy")
    scores = np.asarray(found)
    assert ((scores >= -1.0) & (scores <= 1.0)).all()
    assert (scores[np.isinf(values)] == -1.0).all()
    assert (scores[4] == -1.0).all()
    for round_values, round_scores in zip(values[:4], scores[:4], strict=True):
        known = np.isfinite(round_values)
        assert round_scores[known].max() == 1.0
        assert round_scores[known].min() == -1.0
        order = np.argsort(round_values[known])
        assert (np.diff(round_scores[known][order]) > 0.0).all()


# The network that agents share.


def test_the_shared_network_equals_plain_loops() -> None:
    network = SharedNetworks(3, 5, 4, (8, 6), generator())
    x = torch.rand((7, 3, 5), generator=generator(1))
    w = {name: tensor[0].double().numpy() for name, tensor in network.network.state_dict().items()}
    found = network(x).detach().numpy()

    def layer(name: str, y: np.ndarray) -> np.ndarray:
        return np.asarray(y @ w[f"{name}.layers.0.weight"] + w[f"{name}.layers.0.bias"][0])

    for batch in range(7):
        first = [np.maximum(layer("first", x[batch, n].double().numpy()), 0.0) for n in range(3)]
        for n in range(3):
            joined = np.concatenate([first[n], (first[0] + first[1] + first[2]) / 3.0])
            outputs = layer("last", np.maximum(layer("rest", joined), 0.0))
            value, advantage = outputs[0], outputs[1:]
            np.testing.assert_allclose(found[batch, n], value + advantage - advantage.mean(), atol=1e-5)
    order = torch.tensor([2, 0, 1])
    torch.testing.assert_close(network(x[:, order]), network(x)[:, order])


def learner(view: HybridView, **settings: Any) -> D3QN:
    small = {"hidden": (8, 6), "replay": 512, "batch": 16, "learn_after": 64}
    values = {**recipe(view.system.name, "hybrid"), **small, **settings}
    return D3QN.for_env(view, D3QNSettings.pick(values))


def test_targets_and_loss_of_the_shared_network_equal_plain_loops() -> None:
    agent = learner(view_of("split_point"))
    agent.target.load_state_dict(D3QN(agent.shape, agent.settings, seed=1).online.state_dict())
    batch = random_batch(4, agent.shape.observation_size, 4)
    with torch.no_grad():
        online, target = agent.online(batch.next_observation), agent.target(batch.next_observation)
        now = agent.online(batch.observation)
    loss = 0.0
    for n in range(4):
        for r in range(7):
            best = max((a for a in range(4) if batch.next_mask[r, n, a]), key=lambda a: float(online[r, n, a]))
            y = float(batch.reward[r, n]) + float(batch.discount[r, 0]) * float(target[r, n, best])
            loss += float(batch.weight[r, 0]) * (float(now[r, n, batch.action[r, n]]) - y) ** 2 / 7
    assert agent.loss(agent.errors(batch), batch).item() == pytest.approx(loss, rel=1e-5)


@pytest.mark.parametrize("learn_from", ["asked", "decided"])
def test_the_memory_holds_choices_as_asked_or_decided(learn_from: str, monkeypatch: pytest.MonkeyPatch) -> None:
    view = view_of("quantization")
    agent = learner(view, learn_from=learn_from, learn_after=10**6)
    asked, decided = [], []
    explore, step = agent._explore, view.step

    def exploring() -> torch.Tensor:
        asked.append(explore())
        return asked[-1]

    def remembered(actions: Any) -> Any:
        found = step(actions)
        decided.append(found[-1]["decided"])
        return found

    monkeypatch.setattr(agent, "_explore", exploring)
    monkeypatch.setattr(view, "step", remembered)
    agent.begin(view, 1000)
    for _ in range(6):
        agent.advance()
    stored = agent.memory.tensors()
    played = stored["priority"].reshape(6, COPIES).numpy() > 0
    np.testing.assert_array_equal(played.all(axis=1), [True, True, False, True, True, False])
    wanted = np.stack(decided) if learn_from == "decided" else torch.stack(asked).numpy()
    np.testing.assert_array_equal(stored["action"].reshape(6, COPIES, 5).numpy()[played], wanted[played])
    assert (np.stack(decided)[played] != torch.stack(asked).numpy()[played]).any()


@pytest.mark.parametrize("name", SMALL)
def test_resumed_training_is_the_same_to_the_bit(tmp_path: Path, name: str) -> None:
    def make() -> tuple[D3QN, Any]:
        view = view_of(name, 8)
        return learner(view, learn_from="decided"), view

    assert_resumes(make, Schedule(steps=400, score_every=80), (80, 240), tmp_path)


# Learners as solvers.


def saved(kind: str, name: str, folder: Path, **settings: Any) -> Path:
    """Weights as they start."""
    path = folder / f"{name}-{kind}.safetensors"
    if kind == "hybrid":
        learner(view_of(name), **settings).save(path)
    else:
        env = envs.vector_env(name, 1, **SMALL[name])
        DDPG.for_env(env, DDPGSettings.create({"hidden": (8, 6), **settings})).save(path)
    return path


def rounds(name: str, copies: int, device: str | None = None, **options: Any) -> tuple[Any, Any]:
    simulator = Simulator(system_of(name, **options), copies, device=device)
    simulator.reset(7)
    return simulator.system, simulator.state


@pytest.mark.parametrize("kind", ["ddpg", "hybrid"])
@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("options", [{}, {"twin_error_db": 4.0}, {"dtype": "float32"}])
def test_solvers_decide_batches_rows_and_tensors(name: str, kind: str, options: dict[str, Any], tmp_path: Path) -> None:
    solve = find_method(name, f"{kind}:{saved(kind, name, tmp_path)}")
    system, state = rounds(name, 12, **options)
    decision = solve(system, state)
    system.check_decision(state, decision, complete=True)
    system.cost(state, decision)
    single = solve(system, row(state, 3))
    system.check_decision(row(state, 3), single, complete=True)
    tensors, theirs = rounds(name, 12, "cpu", **options)
    found = solve(tensors, theirs)
    tensors.check_decision(theirs, found, complete=True)
    tolerance: dict[str, Any] = {"rtol": 1e-3 if "dtype" in options else 1e-4, "atol": 1e-6}
    for field in decision.__dataclass_fields__:
        ours = getattr(decision, field)
        assert isinstance(getattr(found, field), torch.Tensor)
        np.testing.assert_allclose(getattr(single, field), ours[3], **tolerance)
        np.testing.assert_allclose(getattr(found, field).numpy(), ours, **tolerance)


@pytest.mark.parametrize("name", SMALL)
def test_hybrid_solvers_play_the_legal_choices_of_highest_values(name: str, tmp_path: Path) -> None:
    path = saved("hybrid", name, tmp_path)
    agent = D3QN.load(path)
    system, state = rounds(name, 12)
    observation, mask = system.observe(state, None), system.mask(state, None)
    with torch.no_grad():
        values = agent.averaged(torch.as_tensor(observation)).numpy()
    values = np.where(mask == 1, values, -np.inf)
    decision = find_method(name, f"hybrid:{path}")(system, state)
    for copy in range(12):
        if name == "split_point":
            asked = values[copy].argmax(axis=-1)
        else:
            asked = np.full(5, 3)
            free = [(values[copy, n, m] - values[copy, n, 3], n, m) for n in range(5) for m in range(3)]
            for gain, n, m in sorted(free, key=lambda each: -each[0]):
                if gain > 0.0 and asked[n] == 3 and m not in asked:
                    asked[n] = m
        expected = exactly(system, row(state, copy), asked)
        for field in expected.__dataclass_fields__:
            np.testing.assert_allclose(getattr(decision, field)[copy], getattr(expected, field), rtol=1e-9)


@pytest.mark.parametrize("kind", ["ddpg", "hybrid"])
def test_shared_weights_decide_for_other_numbers_of_agents(kind: str, tmp_path: Path) -> None:
    """Also where copies and agents could be taken for each other: 4 copies of 6 are not 6 of 4."""
    solve = find_method("split_point", f"{kind}:{saved(kind, 'split_point', tmp_path)}")
    system, state = rounds("split_point", 4, num_vehicles=6)
    decision = solve(system, state)
    for copy in range(4):
        alone = solve(system, row(state, copy))
        for field in alone.__dataclass_fields__:
            np.testing.assert_allclose(getattr(decision, field)[copy], getattr(alone, field), rtol=1e-4)


@pytest.mark.parametrize("kind", ["ddpg", "hybrid"])
def test_weights_of_something_else_are_named(kind: str, tmp_path: Path) -> None:
    path = saved(kind, "split_point", tmp_path)
    system, state = rounds("quantization", 2)
    with pytest.raises(ValueError, match="the weights are for observation_size = 12, quantization has 6"):
        find_method("quantization", f"{kind}:{path}")(system, state)
    with pytest.raises(ValueError, match="unknown method of association with weights"):
        find_method("association", f"{kind}:{path}")
    with pytest.raises(FileNotFoundError, match="there is no such file"):
        find_method("split_point", f"{kind}:{tmp_path / 'nothing'}")
    other = saved({"ddpg": "hybrid", "hybrid": "ddpg"}[kind], "split_point", tmp_path)
    with pytest.raises(ValueError, match=r"holds (d3qn|ddpg), not (d3qn|ddpg)"):
        find_method("split_point", f"{kind}:{other}")
    own = saved(kind, "split_point", tmp_path, network="independent")
    system, state = rounds("split_point", 2, num_vehicles=6)
    with pytest.raises(ValueError, match="the weights are for agents = 4, split_point has 6"):
        find_method("split_point", f"{kind}:{own}")(system, state)


@pytest.mark.parametrize("name", SMALL)
def test_evaluations_take_weights_of_ones_own(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = {"split_point": ["--num-vehicles", "4"], "quantization": ["--num-clients", "5", "--num-channels", "3"]}
    methods = ["exact", *(f"{kind}:{saved(kind, name, tmp_path)}" for kind in ("ddpg", "hybrid"))]
    options = ["--twins", "3", "--rounds", "2", "--jobs", "1", "--output", str(tmp_path / "evaluated")]
    evaluate([name, "--methods", *methods, *sizes[name], *options])
    printed = capsys.readouterr().out
    assert "ddpg:" in printed
    assert "hybrid:" in printed
