"""Agent-steps per second of the vector view on a torch device, everything on it: `python benchmarks/device.py cuda`.

A step holds fresh fading, observations, masks, reward and autoreset. First the device's costs are compared with NumPy's
on the same draws.
"""

import json
import sys
import time
from typing import Any

import fedtwin.envs as envs
import numpy as np
import torch
from fedtwin.core.randomness import generator, numbers
from fedtwin.core.trees import tree_map


def synchronise(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()


def largest_difference(device: str, dtype: str) -> float:
    """Largest relative difference of system costs to NumPy float64 on 4,096 twins."""
    exact = envs.make_system("association", reciprocal=False)
    system = envs.make_system("association", reciprocal=False, dtype=dtype)
    rng = generator(0, 0, 0)
    state = exact.start(exact.draw(numbers(0, 0, 0, (4096,))))
    actions = rng.integers(exact.num_actions, size=(4096, 16))
    expected = exact.cost(state, exact.decide(state, actions)).system_cost

    def move(array: Any) -> torch.Tensor:
        tensor = torch.tensor(array, device=device)
        return tensor.to(getattr(torch, dtype)) if tensor.is_floating_point() else tensor

    moved = tree_map(move, state)
    found = system.cost(moved, system.decide(moved, move(actions))).system_cost.double().cpu().numpy()
    return float(np.max(np.abs(found / expected - 1.0)))


def agent_steps_per_second(device: str, copies: int, dtype: str, steps: int, repeats: int) -> list[float]:
    vector = envs.vector_env("association", copies, device=device, dtype=dtype)
    vector.reset(seed=0)
    actions = torch.randint(0, 40, (copies, 16), device=device)
    for _ in range(3):
        vector.step(actions)
    rates = []
    for _ in range(repeats):
        synchronise(device)
        began = time.perf_counter()
        for _ in range(steps):
            vector.step(actions)
        synchronise(device)
        rates.append(copies * 16 * steps / (time.perf_counter() - began))
    vector.check()
    return sorted(rates)


def main() -> None:
    """Print one JSON line per measurement."""
    device = sys.argv[1]
    sizes = [int(size) for size in sys.argv[2:]] or [1024, 8192, 65536]
    for dtype in ("float64", "float32"):
        print(
            json.dumps({"dtype": dtype, "largest relative difference": largest_difference(device, dtype)}), flush=True
        )
        for copies in sizes:
            rates = agent_steps_per_second(device, copies, dtype, steps=50 if device != "cpu" else 3, repeats=5)
            rounded = [round(rate / 1e6, 2) for rate in rates]
            print(json.dumps({"dtype": dtype, "copies": copies, "million agent-steps/s": rounded}), flush=True)


if __name__ == "__main__":
    main()
