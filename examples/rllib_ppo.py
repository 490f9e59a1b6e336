"""RLlib's PPO on the PettingZoo view: one policy for all clients, which leaves out actions that the mask forbids.

Run `python examples/rllib_ppo.py`; `--help` lists the settings. Needs `pip install "fedtwin[rllib]"`. Two runs agree
where the environment variable PYTHONHASHSEED is the same: RLlib keeps agents in a set.
"""

from typing import Any

import fedtwin.envs as envs
import numpy as np
import ray
import torch
import tyro
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis.value_function_api import ValueFunctionAPI
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModuleSpec
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.core.rl_module.torch.torch_rl_module import TorchRLModule
from ray.rllib.env.wrappers.pettingzoo_env import ParallelPettingZooEnv
from ray.rllib.utils.torch_utils import FLOAT_MIN
from ray.tune.registry import register_env

POLICY = "client"


class MaskedModule(TorchRLModule, ValueFunctionAPI):
    """Policy and value of one client from `{"observation", "action_mask"}`."""

    def setup(self) -> None:
        """Build the networks."""
        size = self.observation_space["observation"].shape[0]
        self.body = torch.nn.Sequential(
            torch.nn.Linear(size, 64), torch.nn.Tanh(), torch.nn.Linear(64, 64), torch.nn.Tanh()
        )
        self.policy = torch.nn.Linear(64, self.action_space.n)
        self.value = torch.nn.Linear(64, 1)

    def _forward(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        seen = batch[Columns.OBS]
        logits = self.policy(self.body(seen["observation"]))
        return {Columns.ACTION_DIST_INPUTS: logits.masked_fill(seen["action_mask"] == 0, FLOAT_MIN)}

    def compute_values(self, batch: dict[str, Any], embeddings: Any = None) -> torch.Tensor:
        """Return the value of each observation."""
        values: torch.Tensor = self.value(self.body(batch[Columns.OBS]["observation"]))[..., 0]
        return values


class CountActions(RLlibCallback):
    """Count decisions of clients that are out of energy, and actions that had to be projected to legal ones."""

    def on_episode_step(self, *, episode: Any, metrics_logger: Any, **kwargs: Any) -> None:
        """Count those of the last round."""
        seen, infos = episode.get_observations(-2), episode.get_infos(-1)
        out = sum(int(np.sum(one["action_mask"]) == 1) for one in seen.values())
        illegal = sum(int(info["projected"]) for info in infos.values())
        metrics_logger.log_value("out_of_energy", out, reduce="sum")
        metrics_logger.log_value("illegal", illegal, reduce="sum")


def main(iterations: int = 1, rounds: int = 256, clients: int = 8) -> dict[str, Any]:
    """Train with PPO where clients run out of energy.

    Args:
        iterations: of PPO.
        rounds: rounds of each iteration.
        clients: clients of the system.

    Returns:
        What RLlib reports of the environments in the last iteration.
    """
    torch.set_num_threads(1)
    settings = {"preset": "heterogeneous", "num_clients": clients, "mask": "observation"}
    register_env("association", lambda _: ParallelPettingZooEnv(envs.parallel_env("association", **settings)))
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    config = (
        PPOConfig()
        .environment("association")
        .env_runners(num_env_runners=0)
        .learners(num_learners=0)
        .multi_agent(policies={POLICY}, policy_mapping_fn=lambda agent, episode, **kwargs: POLICY)
        .rl_module(rl_module_spec=MultiRLModuleSpec(rl_module_specs={POLICY: RLModuleSpec(module_class=MaskedModule)}))
        .callbacks(CountActions)
        .training(train_batch_size_per_learner=rounds, minibatch_size=min(256, rounds), num_epochs=4, gamma=0.9)
        .debugging(seed=0, log_level="ERROR")
    )
    try:
        algorithm = config.build_algo()
        for _ in range(iterations):
            result = algorithm.train()["env_runners"]
        algorithm.stop()
    finally:
        ray.shutdown()
    print(
        f"RLlib PPO, {iterations} iteration(s), {result['num_env_steps_sampled_lifetime']:,.0f} rounds of {clients} "
        f"clients: mean episode return {result['episode_return_mean']:.3f}; clients out of energy made "
        f"{result['out_of_energy']:,.0f} decisions, {result['illegal']:,.0f} actions were illegal"
    )
    return dict(result)


if __name__ == "__main__":
    tyro.cli(main)
