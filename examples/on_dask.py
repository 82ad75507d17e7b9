"""A map on Dask, here on two worker processes; for a real cluster, change only the address of the client."""

import os
import tempfile

import distributed

import beautyspot as bs

if __name__ == "__main__":
    os.chdir(tempfile.mkdtemp(prefix="beautyspot-"))  # a real script keeps its results where it runs

project = bs.Project("on_dask")


@project.task
def estimate_pi(seed: int, samples: int = 20_000) -> float:
    import random

    rng = random.Random(seed)
    return 4 * sum(rng.random() ** 2 + rng.random() ** 2 < 1 for _ in range(samples)) / samples


if __name__ == "__main__":
    with distributed.Client(n_workers=2, threads_per_worker=1, dashboard_address=":0") as client, project:
        estimates = bs.map(estimate_pi, range(40), engine=client)
        print(f"π is about {sum(estimates) / len(estimates):.3f}")
        print(bs.plan(estimate_pi, range(60)))

        # Dask can call tasks as functions, too: the worker reads cached results.
        print([round(x, 2) for x in client.gather(client.map(estimate_pi, range(3)))])
