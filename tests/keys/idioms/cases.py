"""Test cases of unittest: their methods capture ``self``."""

import unittest
from unittest.mock import AsyncMock, Mock

import beautyspot as bs


class Base(unittest.TestCase):
    def setUp(self):
        import os
        import tempfile

        self.is_first = os.environ["PROCESS"] == "first"
        self.directory = tempfile.TemporaryDirectory()
        self.addCleanup(self.directory.cleanup)
        self.project = bs.Project("cases", db=os.environ["PLACE"] + "/index.db")
        self.addCleanup(self.project.close)

    def fresh(self, expected):
        return expected if self.is_first else type(expected)()


class TestThingsOfTheTest(Base):
    def test_a_list(self):
        log = []

        @self.project.task
        def double(x):
            log.append(x)
            return 2 * x

        self.assertEqual([double(1), double(2), double(1)], [2, 4, 2])
        self.assertEqual(log, self.fresh([1, 2]))

    def test_self_collects(self):
        self.log = []
        self.calls = 0

        @self.project.task(ignore=("self.directory", "self.is_first"))
        def double(x):
            self.log.append(x)
            self.calls += 1
            return 2 * x

        self.assertEqual([double(1), double(2), double(1)], [2, 4, 2])
        self.assertEqual(self.log, self.fresh([1, 2]))
        self.assertEqual(self.calls, self.fresh(2))

    def test_a_mock_in_self(self):
        self.client = Mock()
        self.client.ask.return_value = "yes"

        @self.project.task(ignore=("self.directory", "self.is_first"))
        def ask(prompt):
            return self.client.ask(prompt)

        self.assertEqual([ask("a"), ask("a")], ["yes"] * 2)
        self.assertEqual(self.client.ask.call_count, self.fresh(1))

    def test_subtests(self):
        log = []

        @self.project.task
        def double(x):
            log.append(x)
            return 2 * x

        for x in (1, 2, 1):
            with self.subTest(x=x):
                self.assertEqual(double(x), 2 * x)
        self.assertEqual(log, self.fresh([1, 2]))

    def test_assertions_in_the_task(self):
        @self.project.task(ignore=("self.directory", "self.is_first"))
        def double(x):
            self.assertGreater(x, 0)
            return 2 * x

        self.assertEqual([double(1), double(2), double(1)], [2, 4, 2])
        with self.assertRaises(AssertionError):
            double(0)


class TestPlain(unittest.TestCase):
    """A case that keeps nothing that is made anew: self needs no ignore."""

    @classmethod
    def setUpClass(cls):
        import os

        cls.is_first = os.environ["PROCESS"] == "first"
        cls.project = bs.Project("cases", db=os.environ["PLACE"] + "/index.db")

    @classmethod
    def tearDownClass(cls):
        cls.project.close()

    def setUp(self):
        self.log = []
        self.model = "small"

    def fresh(self, expected):
        return expected if self.is_first else type(expected)()

    def test_self_collects(self):
        @self.project.task
        def ask(x):
            self.log.append(x)
            return f"{self.model} {x}"

        self.assertEqual([ask(1), ask(2), ask(1)], ["small 1", "small 2", "small 1"])
        self.assertEqual(self.log, self.fresh([1, 2]))
        self.model = "large"
        self.assertEqual(ask(1), "large 1")

    def test_a_method_of_the_case_is_called(self):
        @self.project.task
        def ask(x):
            return self.answer(x)

        self.assertEqual([ask(1), ask(2), ask(1)], ["1!", "2!", "1!"])
        self.assertEqual(self.log, self.fresh([1, 2]))

    def answer(self, x):
        self.log.append(x)
        return f"{x}!"

    def test_a_method_of_the_case_is_the_task(self):
        task = self.project.task(self.answer)
        self.assertEqual([task(1), task(2), task(1)], ["1!", "2!", "1!"])
        self.assertEqual(self.log, self.fresh([1, 2]))


class TestAsync(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        import os

        self.log = []
        self.client = AsyncMock()
        self.client.ask.return_value = "yes"
        self.project = bs.Project("cases", db=os.environ["PLACE"] + "/index.db")
        self.addCleanup(self.project.close)

    def fresh(self, expected):
        import os

        return expected if os.environ["PROCESS"] == "first" else type(expected)()

    async def test_a_list(self):
        log = []

        @self.project.task
        async def double(x):
            log.append(x)
            return 2 * x

        self.assertEqual([await double(1), await double(2), await double(1)], [2, 4, 2])
        self.assertEqual(log, self.fresh([1, 2]))

    async def test_self(self):
        @self.project.task
        async def ask(prompt):
            self.log.append(prompt)
            return await self.client.ask(prompt)

        self.assertEqual([await ask("a"), await ask("b"), await ask("a")], ["yes"] * 3)
        self.assertEqual(self.log, self.fresh(["a", "b"]))
        self.assertEqual(self.client.ask.await_count, self.fresh(2))
