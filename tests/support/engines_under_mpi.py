"""The contract of maps on ``mpi4py.futures``. test_engines runs it under mpiexec, with this process as the root."""

from collections.abc import Iterator
from typing import Any

import pytest
from mpi4py.futures import MPIPoolExecutor

from beautyspot.testing import FanOutContract


class TestMPI(FanOutContract):
    test_a_dead_worker_is_an_error_that_names_the_input = None  # MPI ends all of its processes
    # Each separate program would need an mpiexec of its own.
    test_tasks_of_a_script_are_the_same_everywhere = None
    test_tasks_of_a_module_are_the_same_everywhere = None
    test_tasks_of_a_notebook_are_the_same_everywhere = None

    @pytest.fixture(scope="class")
    @classmethod
    def engine(cls) -> Iterator[Any]:
        with MPIPoolExecutor() as pool:
            yield pool
