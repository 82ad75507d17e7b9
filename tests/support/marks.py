"""Marks that several test modules share."""

import pytest

# The fixture `project` of tests/conftest.py has every index. Tests that do not depend on the index run on one only, and
# tests that are slow on PostgreSQL run there with `make slow` only.
on_sqlite = pytest.mark.parametrize("project_index", ["sqlite"])
POSTGRES_SLOWLY = ["sqlite", pytest.param("postgres", marks=pytest.mark.slow)]
on_postgres_slowly = pytest.mark.parametrize("project_index", POSTGRES_SLOWLY)
