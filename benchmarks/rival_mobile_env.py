"""Steps per second of mobile-env's medium multi-agent scenario (15 users); runs in an environment of its own."""

import time

import gymnasium
import mobile_env  # noqa: F401 (registers the scenarios)
from serve import serve

STEPS = 150


def main() -> None:
    env = gymnasium.make("mobile-medium-ma-v0", disable_env_checker=True).unwrapped
    env.reset(seed=0)
    env.action_space.seed(0)
    actions = [env.action_space.sample() for _ in range(50)]

    def sample() -> float:
        began = time.perf_counter()
        for step in range(STEPS):
            _, _, terminated, truncated, _ = env.step(actions[step % 50])
            if terminated or truncated:
                env.reset()
        return STEPS / (time.perf_counter() - began)

    serve(sample)


if __name__ == "__main__":
    main()
