"""A map on Ray, here on a local cluster; for a real one, change only the arguments of `ray.init`."""

import os
import tempfile

import ray

import beautyspot as bs

if __name__ == "__main__":
    os.chdir(tempfile.mkdtemp(prefix="beautyspot-"))  # a real script keeps its results where it runs

project = bs.Project("on_ray")


@project.task
def estimate_pi(seed: int, samples: int = 20_000) -> float:
    import random

    rng = random.Random(seed)
    return 4 * sum(rng.random() ** 2 + rng.random() ** 2 < 1 for _ in range(samples)) / samples


if __name__ == "__main__":
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="warning")
    with project:
        estimates = bs.map(estimate_pi, range(40), engine="ray")
        print(f"π is about {sum(estimates) / len(estimates):.3f}")
        print(bs.plan(estimate_pi, range(60)))

        # Ray can call tasks as functions, too: the worker reads cached results.
        remote = ray.remote(estimate_pi)
        print([round(x, 2) for x in ray.get([remote.remote(seed) for seed in range(3)])])
    ray.shutdown()
