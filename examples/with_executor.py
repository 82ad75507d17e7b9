"""Code that takes an executor and does not know beautyspot: with a cached executor, it gets cached results."""

import os
import tempfile
import time
from concurrent.futures import Executor, ThreadPoolExecutor, as_completed

import beautyspot as bs
from beautyspot.adapters.futures import CachedExecutor


def crawl(pages: list[str], executor: Executor) -> dict[str, int]:
    """Stands for code of another library."""
    futures = {executor.submit(download, page): page for page in pages}
    return {futures[future]: future.result() for future in as_completed(futures)}


def download(page: str) -> int:
    time.sleep(0.2)
    return len(page)


if __name__ == "__main__":
    os.chdir(tempfile.mkdtemp(prefix="beautyspot-"))  # a real script keeps its results where it runs
    pages = [f"https://example.org/{n}" for n in range(16)]
    with bs.Project("crawl") as project, CachedExecutor(project, ThreadPoolExecutor(4)) as executor:
        for text, wanted in (("first run", pages[:12]), ("again, with four more", pages)):
            started = time.perf_counter()
            found = crawl(wanted, executor)
            print(f"{text}: {len(found)} pages in {time.perf_counter() - started:.1f} s")
