"""A Dagster asset whose materialization fails half-way: the next one runs only what is missing.

Needs `pip install beautyspot dagster`; versions that were tried together are in `with_dagster.lock`.
"""

import os
import tempfile
from pathlib import Path

import dagster as dg

import beautyspot as bs

place = tempfile.TemporaryDirectory(prefix="beautyspot-")
HERE = Path(place.name)  # real code names a place that stays, and that every worker reaches
project = bs.Project("pages", db=HERE / "pages.db", storage_path=HERE / "blobs")
outage = True  # the site is unwell in the first run
ran: list[str] = []


class SiteError(Exception):
    """What the site answers on a bad day."""


@project.task
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


# Nothing goes to the network, and failures are told by this script.
(HERE / "dagster.yaml").write_text("telemetry: {enabled: false}\npython_logs: {python_log_level: CRITICAL}\n")
os.environ["DAGSTER_HOME"] = place.name

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

place.cleanup()
