"""Measuring several things in turn, and tables of the times."""

import os
import platform
import sqlite3
import statistics
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version


def in_turns(work: dict[str, Callable[[int], None]], calls: int, rounds: int) -> dict[str, list[float]]:
    """Return the microseconds a call of each of *work*. Every round runs all: a slow moment affects all alike."""
    took: dict[str, list[float]] = {name: [] for name in work}
    for turn in range(rounds):
        for name, run in work.items():
            started = time.perf_counter()
            run(turn)
            took[name].append((time.perf_counter() - started) / calls * 1e6)
    return took


def median(times: Sequence[float]) -> float:
    """Return the median of *times*."""
    return statistics.median(times)


def ratio(took: dict[str, list[float]], name: str, other: str) -> float:
    """Return the median over the rounds of the time of *name* divided by that of *other*."""
    return statistics.median(a / b for a, b in zip(took[name], took[other], strict=True))


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Format a Markdown table."""
    lines = [f"### {title}", "", "| " + " | ".join(head) + " |", "| " + " | ".join("---" for _ in head) + " |"]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def compared(title: str, took: dict[str, list[float]], ours: str, goals: dict[str, float]) -> str:
    """Format a table of median times, and of the ratio of *ours* to each other one with its goal."""
    rows = []
    for name, times in took.items():
        goal = goals.get(name)
        against = "" if name == ours else f"{ratio(took, ours, name):.2f} ×"
        rows.append((name, f"{statistics.median(times):.1f}", against, "" if goal is None else f"≤ {goal} ×"))
    return table(title, ("", "µs a call (median)", f"{ours} against it", "goal"), rows)


def machine() -> str:
    """Describe the machine and the versions of the packages."""
    names = ("beautyspot", "msgpack", "blake3", "joblib", "diskcache", "cachier", "numpy", "limits", "redis")
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    return (
        f"Machine: {os.cpu_count()} cores, {platform.machine()}, {platform.system()} {platform.release()}; "
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}; {versions}.  "
    )
