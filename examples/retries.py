"""Retries with tenacity and with stamina during an outage: each attempt is charged, and all workers pause together.

The service here is a stand-in; put your own call into `answer`. Needs `pip install tenacity stamina`.
"""

import asyncio
import os
import tempfile
import threading
import time
from itertools import pairwise

import stamina
import tenacity

import beautyspot as bs

directory = tempfile.TemporaryDirectory(prefix="beautyspot-")
os.chdir(directory.name)  # a real script keeps its results where it runs
project = bs.Project("retries", tpm=60_000)
lock = threading.Lock()
began: list[float] = []
outage_until = 0.0


class Response:
    """The response of an HTTP client: status and headers."""

    def __init__(self, status_code: int, headers: dict[str, str]) -> None:
        self.status_code, self.headers = status_code, headers


class StatusError(Exception):
    """The error of an HTTP client, with its response."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status_code)
        self.response = response


def answer(prompt: str) -> str:
    """Answer a prompt; the tenth call, and all calls in the half second after it, fail with 429."""
    global outage_until
    with lock:
        began.append(time.monotonic())
        if len(began) == 10:
            outage_until = began[-1] + 0.5
        if began[-1] < outage_until:
            raise StatusError(Response(429, {"Retry-After": f"{outage_until - began[-1]:.3f}"}))
    return prompt.upper()


@project.task
@tenacity.retry(retry=tenacity.retry_if_exception_type(StatusError), stop=tenacity.stop_after_attempt(5))
@project.limiter(cost=10)
def ask(prompt: str) -> str:
    return answer(prompt)


@project.task
@stamina.retry(on=StatusError, wait_initial=0, wait_jitter=0)
@project.limiter(cost=10)
async def ask_async(prompt: str) -> str:
    return answer(prompt)


prompts = [f"prompt {n}" for n in range(40)]

with project:
    answers = bs.map(ask, prompts, workers=8, progress=False)
    gaps = [later - earlier for earlier, later in pairwise(began)]
    print(f"tenacity: {len(answers)} answers, {len(began)} attempts; all workers paused once, for {max(gaps):.2f} s")

    began.clear()
    answers = asyncio.run(bs.amap(ask_async, prompts, workers=8, progress=False))
    gaps = [later - earlier for earlier, later in pairwise(began)]
    print(f"stamina:  {len(answers)} answers, {len(began)} attempts; all workers paused once, for {max(gaps):.2f} s")

directory.cleanup()
