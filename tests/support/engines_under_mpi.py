"""The contract of a map on ``mpi4py.futures``; run by test_engines under mpiexec, with this process as its root."""

from collections.abc import Iterator
from typing import Any

import pytest
from mpi4py.futures import MPIPoolExecutor

from beautyspot.testing import FanOutContract


class TestMPI(FanOutContract):
    test_a_dead_worker_is_an_error_that_names_the_input = None  # MPI ends as a whole
    # Programs of their own would each need an mpiexec of theirs.
    test_tasks_of_a_script_are_the_same_everywhere = None
    test_tasks_of_a_module_are_the_same_everywhere = None
    test_tasks_of_a_notebook_are_the_same_everywhere = None

    @pytest.fixture(scope="class")
    @classmethod
    def engine(cls) -> Iterator[Any]:
        with MPIPoolExecutor() as pool:
            yield pool
