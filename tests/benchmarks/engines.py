"""The time of a task on each engine, compared with the same engine without beautyspot."""

import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import joblib

import beautyspot as bs
from tests.benchmarks.tables import in_turns, median, ratio, table
from tests.support.clusters import DaskCluster, RayCluster

_COUNT = 2000


def nothing(x: int) -> int:
    """Do nothing, so that only the overhead is timed."""
    return x


def chunk_of_nothing(xs: list[int]) -> list[int]:
    """Run a chunk without storing results."""
    return [nothing(x) for x in xs]


def engines(directory: Path) -> str:
    """No-op tasks on two workers: beautyspot on an engine, the engine alone, and the engine in chunks of 200."""
    os.environ["RAY_AUTH_MODE"] = "disabled"
    import distributed
    import ray

    dask_cluster, ray_cluster = DaskCluster(2), RayCluster()
    ray.init(ray_cluster.address, logging_level=40)
    client = distributed.Client(dask_cluster.address)
    remote, remote_chunk = ray.remote(nothing), ray.remote(chunk_of_nothing)

    def by_joblib(function: Callable[[Any], Any], inputs: Any, **options: Any) -> None:
        joblib.Parallel(n_jobs=2, **options)(joblib.delayed(function)(x) for x in inputs)

    with bs.Project("bench", db=directory / "bench.db") as project, ProcessPoolExecutor(2) as pool:
        task = project.task(nothing)
        alone: dict[str, tuple[Any, Callable[[Any], Any], Callable[[Any], Any]]] = {
            "process pool": (
                pool,
                lambda xs: list(pool.map(nothing, xs)),
                lambda chunks: list(pool.map(chunk_of_nothing, chunks)),
            ),
            "joblib (loky)": (
                "joblib",
                lambda xs: by_joblib(nothing, xs, batch_size=1),
                lambda chunks: by_joblib(chunk_of_nothing, chunks, batch_size=1),
            ),
            "Dask": (
                client,
                lambda xs: client.gather(client.map(nothing, xs, pure=False)),
                lambda chunks: client.gather(client.map(chunk_of_nothing, chunks, pure=False)),
            ),
            "Ray": (
                "ray",
                lambda xs: ray.get([remote.remote(x) for x in xs]),
                lambda chunks: ray.get([remote_chunk.remote(chunk) for chunk in chunks]),
            ),
        }
        rows, cached = [], []
        for number, (name, (engine, one_by_one, in_chunks)) in enumerate(alone.items()):

            def inputs(turn: int, first: int = 10**6 * (number + 1)) -> list[int]:
                return list(range(first + turn * _COUNT, first + (turn + 1) * _COUNT))

            def chunks(turn: int) -> list[list[int]]:
                xs = inputs(turn)
                return [xs[i : i + 200] for i in range(0, _COUNT, 200)]

            bs.map(task, inputs(99)[:50], engine=engine, workers=2)  # workers start
            one_by_one(range(10))
            took = in_turns(
                {
                    "ours": lambda turn: bs.map(task, inputs(turn), engine=engine, workers=2),  # noqa: B023
                    "alone": lambda turn: one_by_one(inputs(turn)),  # noqa: B023
                    "chunks": lambda turn: in_chunks(chunks(turn)),  # noqa: B023
                },
                _COUNT,
                5,
            )
            rows.append(
                (
                    name,
                    *[f"{median(took[column]):.0f}" for column in ("ours", "alone", "chunks")],
                    f"{ratio(took, 'ours', 'alone'):.2f} ×",
                    "≤ 1.5 ×",
                )
            )
        many = range(20_000)
        bs.map(task, many)
        for name, engine in [("threads", "threads"), *[(name, each[0]) for name, each in alone.items()]]:
            times = []
            for _ in range(5):
                started = time.perf_counter()
                bs.map(task, many, engine=engine)
                times.append(time.perf_counter() - started)
            cached.append((name, f"{median(times) * 1e3:.0f}"))
    client.close()
    ray.shutdown()
    dask_cluster.stop()
    ray_cluster.stop()
    columns = ("", "beautyspot", "alone, one by one", "alone, chunks of 200", "beautyspot against one by one", "goal")
    return "\n".join(
        [
            table("An empty function on two workers (µs a task); only beautyspot stores the results", columns, rows),
            table("20,000 cached inputs", ("engine", "ms (median)"), cached),
        ]
    )
