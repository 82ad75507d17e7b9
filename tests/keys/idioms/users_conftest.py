"""The conftest.py of a user: one index for all tests, kept in a directory."""

import os

import pytest

import beautyspot as bs


@pytest.fixture
def project():
    place = os.environ["PLACE"]
    with bs.Project("tests", db=f"{place}/index.db", storage_path=f"{place}/blobs") as project:
        yield project


@pytest.fixture
def fresh():
    """What is expected of the first process; the second one finds all results, and its lists and counters stay empty."""
    return lambda expected: expected if os.environ["PROCESS"] == "first" else type(expected)()
