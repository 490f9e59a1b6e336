"""The native TorchRL environment beside the same rounds through TorchRL's PettingZoo wrapper.

Run `python examples/torchrl_batched.py`; `--help` lists the settings. Needs `pip install "fedtwin[torchrl]"`.
"""

import time
from typing import Any

import fedtwin.envs as envs
import torch
import tyro
from fedtwin.envs.views.torchrl import torchrl_env
from torchrl.envs import ActionMask, TransformedEnv
from torchrl.envs.libs.pettingzoo import PettingZooWrapper
from torchrl.envs.utils import check_env_specs


def rounds_per_second(env: Any, rounds: int) -> float:
    """Play random rounds of all copies, a short rollout first, and return how many a second takes."""
    env.rollout(2)
    began = time.perf_counter()
    played = env.rollout(rounds, break_when_any_done=False)
    return played.numel() / (time.perf_counter() - began)


def illegal_actions(env: Any, rounds: int) -> tuple[int, int]:
    """Play random rounds and return how many actions were illegal, and how many of the entries were masked out."""
    agents = env.rollout(rounds, break_when_any_done=False)["agents"]
    legal = agents["action_mask"].gather(-1, agents["action"][..., None])
    return int((~legal).sum()), int((~agents["action_mask"]).sum())


def main(num_envs: int = 1024, rounds: int = 50, clients: int = 16) -> float:
    """Check both environments against their specs and measure them.

    Args:
        num_envs: copies of the native environment.
        rounds: rounds that each copy plays.
        clients: clients of the system.

    Returns:
        How many times more rounds a second the native environment plays.
    """
    torch.set_num_threads(1)
    torch.manual_seed(0)
    wrapped = PettingZooWrapper(envs.parallel_env("association", num_clients=clients))
    native = torchrl_env("association", num_envs, num_clients=clients, dtype="float32")
    for env in (wrapped, native):
        check_env_specs(env)
        env.set_seed(0)
    speeds = [rounds_per_second(env, rounds) for env in (wrapped, native)]

    mask = ActionMask(("agents", "action"), ("agents", "action_mask"))
    scarce = TransformedEnv(torchrl_env("association", 64, preset="heterogeneous", num_clients=clients), mask)
    illegal, masked = illegal_actions(scarce, rounds)
    if illegal or not masked:
        raise RuntimeError(f"{illegal} of the random actions were illegal, {masked} entries were masked out")

    factor = speeds[1] / speeds[0]
    print(
        f"rounds of {clients} clients per second: {speeds[0]:,.0f} through PettingZooWrapper, {speeds[1]:,.0f} with "
        f"{num_envs} native copies, a factor {factor:.0f}; no random action was illegal"
    )
    return factor


if __name__ == "__main__":
    tyro.cli(main)
