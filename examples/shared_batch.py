"""One map, shared by several machines: each input runs once, even if machines start late, stop or crash.

    APP_INDEX=postgresql://user@host/app APP_BLOBS=s3://bucket/app python shared_batch.py

Start it on a second machine, and the two split the work. Here two processes stand for two machines; without the
variables they share files in a temporary directory.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections import Counter

import beautyspot as bs


def open_project() -> bs.Project:
    index, blobs = os.environ["APP_INDEX"], os.environ["APP_BLOBS"]
    return bs.Project("shared", db=index, storage_path=blobs, secret=os.environ.get("BEAUTYSPOT_SECRET"))


def render(page: int) -> dict[str, object]:
    time.sleep(0.01)  # imagine a minute of work
    return {"page": page, "pixels": bytes(100_000), "by": os.getpid()}


def machine() -> None:
    with open_project() as project:
        results = bs.map(project.task(render), range(100), workers=4, progress=False)
        assert [result["page"] for result in results] == list(range(100))


def main() -> None:
    machines = [subprocess.Popen([sys.executable, __file__, "machine"]) for _ in range(2)]
    assert [each.wait() for each in machines] == [0, 0]
    with open_project() as project:
        task = project.task(render)
        print(bs.plan(task, range(101)))
        ran = Counter(result["by"] for result in bs.map(task, range(100)))
        print("each machine ran", sorted(ran.values()), "of 100, each input once")


if __name__ == "__main__":
    if sys.argv[1:] == ["machine"]:
        machine()
    else:
        with tempfile.TemporaryDirectory() as directory:
            os.environ.setdefault("APP_INDEX", f"{directory}/shared.db")
            os.environ.setdefault("APP_BLOBS", f"{directory}/blobs")
            main()
