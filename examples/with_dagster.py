"""A Dagster asset whose materialization fails half-way: the next one runs only the missing calls.

Needs `pip install beautyspot dagster`; `with_dagster.lock` lists versions that are tested together.
"""

import os
import tempfile
from pathlib import Path

import dagster as dg

import beautyspot as bs

directory = tempfile.TemporaryDirectory(prefix="beautyspot-")
HERE = Path(directory.name)  # real code uses a permanent directory that every worker can reach
project = bs.Project("pages", db=HERE / "pages.db", storage_path=HERE / "blobs")
outage = True  # the site fails in the first run
ran: list[str] = []


class SiteError(Exception):
    """The error of the site during an outage."""


@project.task(ignore="outage")  # whether the site is up does not say which page it is
def fetch(number: int) -> str:
    ran.append(f"fetch {number}")
    if outage and number % 10 == 7:
        raise SiteError(f"503: page {number} is not there today")
    return f"page {number} " * number


@dg.asset
def pages() -> list[str]:
    return bs.map(fetch, range(40), workers=4, on_error="continue", progress=False)


@dg.asset
@project.task(ignore="context")  # an asset may be a task itself: the same pages are counted once
def words(context: dg.AssetExecutionContext, pages: list[str]) -> int:
    ran.append("words")
    context.log.info("counting the words of %s pages", len(pages))
    return sum(len(page.split()) for page in pages)


def materialize(instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    ran.clear()
    return dg.materialize([pages, words], instance=instance, raise_on_error=False)


# Dagster sends nothing over the network and logs no failures: this script prints them.
(HERE / "dagster.yaml").write_text("telemetry: {enabled: false}\npython_logs: {python_log_level: CRITICAL}\n")
os.environ["DAGSTER_HOME"] = directory.name

with project, dg.DagsterInstance.get() as instance:
    first = materialize(instance)
    print(f"first run:  success={first.success}, {len(ran)} calls; now {bs.plan(fetch, range(40))}")
    assert (first.success, len(ran)) == (False, 40)

    outage = False
    second = materialize(instance)
    print(f"second run: success={second.success}, {len(ran)} calls; {second.output_for_node('words')} words")
    assert (second.success, sorted(ran)) == (True, ["fetch 17", "fetch 27", "fetch 37", "fetch 7", "words"])

    third = materialize(instance)
    print(f"third run:  success={third.success}, {len(ran)} calls; {third.output_for_node('words')} words")
    assert (third.success, ran) == (True, [])

directory.cleanup()
