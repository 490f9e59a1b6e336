"""Steps per second of mobile-env's medium multi-agent scenario (15 users); runs in an environment of its own."""

import json
import sys
import time

import gymnasium
import mobile_env  # noqa: F401 (registers the scenarios)


def main() -> None:
    samples, steps = int(sys.argv[1]), int(sys.argv[2])
    env = gymnasium.make("mobile-medium-ma-v0", disable_env_checker=True).unwrapped
    env.reset(seed=0)
    env.action_space.seed(0)
    actions = [env.action_space.sample() for _ in range(50)]
    rates = []
    for _ in range(samples):
        began = time.perf_counter()
        for step in range(steps):
            _, _, terminated, truncated, _ = env.step(actions[step % 50])
            if terminated or truncated:
                env.reset()
        rates.append(steps / (time.perf_counter() - began))
    print(json.dumps(rates))


if __name__ == "__main__":
    main()
