"""Independent PPO or Q-learning of BenchMARL on the batched TorchRL environment.

Run `python examples/benchmarl_association.py --algorithm iql`; `--help` lists the settings. Needs
`pip install "fedtwin[torchrl]" benchmarl`.
"""

import tempfile
from collections.abc import Callable
from typing import Any, Literal

import torch
import tyro
from benchmarl.algorithms import IppoConfig, IqlConfig
from benchmarl.environments.common import Task, TaskClass
from benchmarl.experiment import Experiment, ExperimentConfig
from benchmarl.models.mlp import MlpConfig
from fedtwin.envs.views.torchrl import TorchRLView, torchrl_env
from torchrl.data import Composite


class AssociationClass(TaskClass):
    """The association system as BenchMARL builds and describes it; the configuration holds its parameters."""

    def get_env_fun(
        self, num_envs: int, continuous_actions: bool, seed: int | None, device: Any
    ) -> Callable[[], TorchRLView]:
        """Return what builds `num_envs` copies."""

        def build() -> TorchRLView:
            env = torchrl_env("association", num_envs, device=device, **self.config)
            env.set_seed(seed)
            return env

        return build

    def supports_continuous_actions(self) -> bool:
        """Return that actions are never continuous."""
        return False

    def supports_discrete_actions(self) -> bool:
        """Return that actions are discrete."""
        return True

    def max_steps(self, env: Any) -> int:
        """Return the rounds of an episode."""
        return int(env.system.params.max_cycles)

    def has_render(self, env: Any) -> bool:
        """Return that batched copies draw no picture."""
        return False

    def group_map(self, env: Any) -> dict[str, list[str]]:
        """Return the one group of clients."""
        return dict(env.group_map)

    def _seen(self, env: Any, name: str) -> Composite:
        specs = env.full_observation_spec_unbatched["agents"]
        return Composite({"agents": Composite({name: specs[name].clone()}, shape=specs.shape)})

    def observation_spec(self, env: Any) -> Composite:
        """Return the clients' observations."""
        return self._seen(env, "observation")

    def action_mask_spec(self, env: Any) -> Composite:
        """Return the masks, which BenchMARL's policies respect."""
        return self._seen(env, "action_mask")

    def action_spec(self, env: Any) -> Composite:
        """Return the clients' actions."""
        return env.full_action_spec_unbatched

    def info_spec(self, env: Any) -> None:
        """Return that clients have no entries of their own beside; the root's `info` is logged by itself."""

    def state_spec(self, env: Any) -> None:
        """Return that a centralised critic sees all observations."""

    @staticmethod
    def env_name() -> str:
        """Return the name under which results stand."""
        return "fedtwin"


class FedtwinTask(Task):
    """Tasks of fedtwin."""

    ASSOCIATION = None

    @staticmethod
    def associated_class() -> type[AssociationClass]:
        """Return what builds the task."""
        return AssociationClass


def main(
    algorithm: Literal["ippo", "iql"] = "ippo", iterations: int = 2, num_envs: int = 64, clients: int = 8
) -> float:
    """Train for some iterations of one episode per copy.

    Args:
        algorithm: learner.
        iterations: of collecting and learning.
        num_envs: copies of the environment.
        clients: clients of the system.

    Returns:
        Mean return of an episode in the last iteration.
    """
    torch.set_num_threads(1)
    params = {"num_clients": clients, "max_cycles": 25, "dtype": "float32", "preset": "heterogeneous"}
    frames = 25 * num_envs
    config = ExperimentConfig.get_from_yaml()
    config.loggers, config.create_json, config.render, config.evaluation = [], False, False, False
    config.prefer_continuous_actions = False
    config.max_n_iters, config.max_n_frames = iterations, None
    config.on_policy_n_envs_per_worker = config.off_policy_n_envs_per_worker = num_envs
    config.on_policy_collected_frames_per_batch = config.off_policy_collected_frames_per_batch = frames
    config.on_policy_n_minibatch_iters, config.on_policy_minibatch_size = 4, 256
    config.off_policy_n_optimizer_steps, config.off_policy_memory_size = 32, 10 * frames
    chosen = {"ippo": IppoConfig, "iql": IqlConfig}[algorithm]
    with tempfile.TemporaryDirectory() as folder:
        config.save_folder = folder
        experiment = Experiment(
            task=FedtwinTask.ASSOCIATION.get_task(config=params),
            algorithm_config=chosen.get_from_yaml(),
            model_config=MlpConfig.get_from_yaml(),
            critic_model_config=MlpConfig.get_from_yaml(),
            seed=0,
            config=config,
        )
        experiment.run()
    reached = float(experiment.mean_return)
    print(
        f"BenchMARL {algorithm}, {clients} clients, {experiment.total_frames:,} rounds in {iterations} iterations: "
        f"mean episode return {reached:.3f}"
    )
    return reached


if __name__ == "__main__":
    tyro.cli(main)
