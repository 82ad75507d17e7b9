"""Marks that several modules of tests share."""

import pytest

# `project` of tests/conftest.py has every index. What holds whatever the index is runs on one; and what takes long on
# PostgreSQL is left to `make slow` there.
on_sqlite = pytest.mark.parametrize("project_index", ["sqlite"])
POSTGRES_SLOWLY = ["sqlite", pytest.param("postgres", marks=pytest.mark.slow)]
on_postgres_slowly = pytest.mark.parametrize("project_index", POSTGRES_SLOWLY)
