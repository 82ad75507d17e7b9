"""Mocks: what was configured counts, not what was called."""

import asyncio
from unittest import mock
from unittest.mock import (
    AsyncMock,
    MagicMock,
    Mock,
    NonCallableMock,
    PropertyMock,
    call,
    create_autospec,
    mock_open,
    patch,
)

import pytest

import beautyspot as bs


class Client:
    def __init__(self, model="small"):
        self.model = model

    def ask(self, prompt, temperature=0):
        return f"{self.model}: {prompt}"


def fetch(url):
    raise AssertionError("no network in tests")


def test_a_mock_as_an_argument(project, fresh):
    client = Mock()
    client.ask.return_value = "yes"

    @project.task
    def ask(client, prompt):
        return client.ask(prompt)

    assert [ask(client, "a"), ask(client, "b"), ask(client, "a")] == ["yes"] * 3
    assert client.ask.call_count == fresh(2)
    assert client.ask.call_args_list == fresh([call("a"), call("b")])


def test_a_mock_that_was_captured(project, fresh):
    client = Mock()
    client.ask.return_value = "yes"

    @project.task
    def ask(prompt):
        return client.ask(prompt)

    assert [ask("a"), ask("b"), ask("a")] == ["yes"] * 3
    assert client.ask.call_count == fresh(2)


def test_a_mock_configured_otherwise_is_another_call(project):
    def made(**options):
        client = Mock(**options)

        @project.task
        def ask(prompt):
            return client(prompt)

        return ask

    yes, no = made(return_value="yes"), made(return_value="no")
    assert [yes("a"), no("a"), yes("a"), no("a")] == ["yes", "no", "yes", "no"]
    assert made(side_effect=["first"])("a") == "first"
    with pytest.raises(ValueError, match="bad"):
        made(side_effect=ValueError("bad"))("a")
    assert made(side_effect=lambda prompt: prompt * 2)("a") == "aa"
    assert made(side_effect=lambda prompt: prompt * 3)("a") == "aaa"


def test_a_mock_configured_again_between_calls(project):
    client = Mock()
    client.ask.return_value = "yes"

    @project.task
    def ask(prompt):
        return client.ask(prompt)

    assert ask("a") == "yes"
    client.ask.return_value = "no"
    assert ask("a") == "no"
    client.ask.return_value = "yes"
    assert ask("a") == "yes"
    client.ask.side_effect = lambda prompt: prompt.upper()
    assert ask("a") == "A"


def test_side_effect_as_a_list(project, fresh):
    fetch = Mock(side_effect=["one", "two", "three"])

    @project.task
    def page(url):
        return fetch(url)

    assert [page("a"), page("b"), page("a"), page("b")] == ["one", "two", "one", "two"]
    assert fetch.call_count == fresh(2)


def test_side_effect_as_a_list_with_an_error(project, fresh):
    fetch = Mock(side_effect=[ConnectionError("down"), "two"])

    @project.task
    def page(url):
        return fetch(url)

    if fresh(1):
        with pytest.raises(ConnectionError):
            page("a")
    assert [page("a"), page("a")] == ["two", "two"]
    assert fetch.call_count == fresh(2)


def test_chains(project, fresh):
    client = MagicMock()
    client.chat.completions.create.return_value.choices[0].message.content = "yes"

    @project.task
    def ask(prompt):
        answer = client.chat.completions.create(model="small", messages=[{"role": "user", "content": prompt}])
        return answer.choices[0].message.content

    assert [ask("a"), ask("b"), ask("a")] == ["yes"] * 3
    assert client.chat.completions.create.call_count == fresh(2)
    client.chat.completions.create.return_value.choices[0].message.content = "no"
    assert [ask("a"), ask("b"), ask("a")] == ["no"] * 3


def test_chains_of_calls(project, fresh):
    db = MagicMock()
    db.query.return_value.filter.return_value.first.return_value = {"id": 7}
    db.__enter__.return_value = db
    db.__len__.return_value = 3

    @project.task
    def find(name):
        with db as session:
            return session.query("users").filter(name=name).first()["id"] + len(session)

    assert [find("a"), find("b"), find("a")] == [10] * 3
    assert db.query.call_count == fresh(2)
    db.__len__.return_value = 4
    assert find("a") == 11


def test_a_magic_mock_that_is_a_dict(project, fresh):
    config = MagicMock()
    config.__getitem__.side_effect = {"size": 3}.__getitem__

    @project.task
    def size(x):
        return x * config["size"]

    assert [size(1), size(2), size(1)] == [3, 6, 3]
    assert config.__getitem__.call_count == fresh(2)


def test_a_mock_with_a_spec(project, fresh):
    client = Mock(spec=Client, model="mocked")
    client.ask.return_value = "yes"

    @project.task
    def ask(prompt):
        return client.ask(prompt) + client.model

    assert [ask("a"), ask("b"), ask("a")] == ["yesmocked"] * 3
    assert client.ask.call_count == fresh(2)


def test_create_autospec(project, fresh):
    client = create_autospec(Client, instance=True)
    client.ask.return_value = "yes"
    function = create_autospec(fetch, return_value="page")

    @project.task
    def ask(prompt):
        return client.ask(prompt, temperature=1) + function(prompt)

    assert [ask("a"), ask("b"), ask("a")] == ["yespage"] * 3
    assert client.ask.call_count == function.call_count == fresh(2)
    function.return_value = "other"
    assert ask("a") == "yesother"


def test_create_autospec_of_a_function_as_an_argument(project, fresh):
    function = create_autospec(fetch, return_value="page")

    @project.task
    def page(get, url):
        return get(url)

    assert [page(function, "a"), page(function, "b"), page(function, "a")] == ["page"] * 3
    assert function.call_count == fresh(2)


def test_a_mock_that_wraps(project, fresh):
    client = Mock(wraps=Client())

    @project.task
    def ask(prompt):
        return client.ask(prompt)

    assert [ask("a"), ask("b"), ask("a")] == ["small: a", "small: b", "small: a"]
    assert client.ask.call_count == fresh(2)


def test_an_async_mock(project, fresh):
    client = AsyncMock()
    client.ask.return_value = "yes"

    @project.task
    async def ask(prompt):
        return await client.ask(prompt)

    async def main():
        return [await ask("a"), await ask("b"), await ask("a"), *await asyncio.gather(ask("a"), ask("b"))]

    assert asyncio.run(main()) == ["yes"] * 5
    assert client.ask.await_count == fresh(2)


def test_an_async_mock_as_an_argument(project, fresh):
    client = AsyncMock()
    client.ask.side_effect = ["one", "two"]

    @project.task
    async def ask(client, prompt):
        return await client.ask(prompt)

    async def main():
        return [await ask(client, "a"), await ask(client, "b"), await ask(client, "a")]

    assert asyncio.run(main()) == ["one", "two", "one"]
    assert client.ask.await_count == fresh(2)


def test_an_async_context_manager(project, fresh):
    session = MagicMock()
    session.get.return_value.__aenter__.return_value.text = AsyncMock(return_value="page")

    @project.task
    async def fetch(url):
        async with session.get(url) as response:
            return await response.text()

    async def main():
        return [await fetch("a"), await fetch("b"), await fetch("a")]

    assert asyncio.run(main()) == ["page"] * 3
    assert session.get.call_count == fresh(2)


def test_patch_of_a_global_function(project, fresh):
    @project.task
    def page(url):
        return fetch(url)

    with patch(f"{__name__}.fetch", return_value="page") as fetched:
        assert [page("a"), page("b"), page("a")] == ["page"] * 3
    assert fetched.call_count == fresh(2)


@patch(f"{__name__}.fetch", return_value="page")
def test_patch_as_a_decorator(fetched, project, fresh):
    @project.task
    def page(url):
        return fetched(url)

    assert [page("a"), page("b"), page("a")] == ["page"] * 3
    assert fetched.call_count == fresh(2)


def test_patch_object_of_a_client_that_was_captured(project, fresh):
    client = Client()

    @project.task
    def ask(prompt):
        return client.ask(prompt)

    with patch.object(client, "ask", return_value="mocked") as asked:
        assert [ask("a"), ask("b"), ask("a")] == ["mocked"] * 3
    assert asked.call_count == fresh(2)
    assert ask("a") == "small: a"


def test_patch_object_of_a_class(project, fresh):
    client = Client()

    @project.task
    def ask(client, prompt):
        return client.ask(prompt)

    with patch.object(Client, "ask", autospec=True, return_value="mocked") as asked:
        assert [ask(client, "a"), ask(client, "b"), ask(client, "a")] == ["mocked"] * 3
    assert asked.call_count == fresh(2)


def test_patch_dict(project):
    settings = {"model": "small"}

    @project.task
    def model(x):
        return f"{settings['model']} {x}"

    with patch.dict(settings, model="large"):
        assert model(1) == "large 1"
    assert model(1) == "small 1"


def test_a_property_mock(project, fresh):
    client = Client()

    @project.task
    def ask(prompt):
        return client.name + prompt

    with patch.object(Client, "name", new_callable=PropertyMock, return_value="mocked", create=True) as name:
        assert [ask("a"), ask("b"), ask("a")] == ["mockeda", "mockedb", "mockeda"]
    assert name.call_count == fresh(2)


def test_mock_open(project, fresh):
    opened = mock_open(read_data="one\ntwo\n")

    @project.task
    def lines(path):
        with opened(path) as file:
            return file.read().split()

    assert [lines("a"), lines("b"), lines("a")] == [["one", "two"]] * 3
    assert opened.call_count == fresh(2)


def test_mock_open_over_open(project, fresh):
    @project.task
    def lines(path):
        with open(path) as file:
            return file.read().split()

    with patch("builtins.open", mock_open(read_data="one\ntwo\n")) as opened:
        assert [lines("a"), lines("b"), lines("a")] == [["one", "two"]] * 3
    assert opened.call_count == fresh(2)


def test_a_sentinel(project):
    @project.task
    def ask(x, default=mock.sentinel.missing):
        return 0 if default is mock.sentinel.missing else default

    assert [ask(1), ask(1, default=2), ask(1)] == [0, 2, 0]


def test_attach_and_reset(project, fresh):
    parent, child = Mock(), Mock(return_value="yes")
    parent.attach_mock(child, "child")

    @project.task
    def ask(prompt):
        return parent.child(prompt)

    assert [ask("a"), ask("a")] == ["yes", "yes"]
    assert child.call_count == fresh(1)
    parent.reset_mock()
    assert ask("a") == "yes"
    assert child.call_count == 0


def test_a_mock_that_is_no_callable(project, fresh):
    settings = NonCallableMock(model="small", retries=3)

    @project.task
    def ask(prompt):
        return f"{settings.model} {prompt}"

    assert [ask("a"), ask("a")] == ["small a"] * 2
    settings.model = "large"
    assert ask("a") == "large a"


def test_a_method_of_a_mock_as_an_argument(project, fresh):
    client = Mock()
    client.ask.return_value = "yes"

    @project.task
    def ask(send, prompt):
        return send(prompt)

    assert [ask(client.ask, "a"), ask(client.ask, "b"), ask(client.ask, "a")] == ["yes"] * 3
    assert client.ask.call_count == fresh(2)


def test_a_mock_in_self(project, fresh):
    class Bot:
        def __init__(self, client):
            self.client = client

        @project.task
        def ask(self, prompt):
            return self.client.ask(prompt)

    client = Mock()
    client.ask.return_value = "yes"
    bot = Bot(client)
    assert [bot.ask("a"), bot.ask("b"), bot.ask("a")] == ["yes"] * 3
    assert client.ask.call_count == fresh(2)


def test_a_mock_with_a_name(project, fresh):
    client = Mock(name="client", **{"ask.return_value": "yes", "close.side_effect": OSError})

    @project.task
    def ask(prompt):
        return client.ask(prompt)

    assert [ask("a"), ask("a")] == ["yes"] * 2
    assert client.ask.call_count == fresh(1)


def test_a_mock_in_threads(project, fresh):
    client = Mock()
    client.ask.side_effect = lambda prompt: prompt.upper()

    @project.task
    def ask(prompt):
        return client.ask(prompt)

    for _ in range(2):
        assert bs.map(ask, list("abcdef"), workers=3, progress=False) == list("ABCDEF")
    assert client.ask.call_count == fresh(6)


def test_what_mocks_return_may_be_false_or_none(project):
    def made(**options):
        client = Mock(**options)

        @project.task
        def ask(prompt):
            answer = client(prompt)
            return answer if answer is None or answer is False else "another mock"

        return ask("a")

    assert made(return_value=None) is None
    assert made(return_value=False) is False
    assert made() == "another mock"


def test_lists_of_answers_are_told_apart(project):
    def made(*answers):
        client = Mock(side_effect=answers)

        @project.task
        def ask(prompt):
            return client(prompt)

        return [ask("a"), ask("b")]

    assert made("one", "two") == ["one", "two"]
    assert made("one", "three") == ["one", "three"]
    assert made("one", "two") == ["one", "two"]


def test_a_magic_mock_that_was_used_as_an_argument(project, fresh):
    client = MagicMock()
    client.__len__.return_value = 3

    @project.task
    def used(client, prompt):
        with client as opened, client.session():
            opened.close()
        found = [
            *client,
            str(client)[:10],
            hash(client) is None,
            client == 7,
            client[0] is None,
            int(client),
            bool(client),
        ]
        return len(client) + len(found) + len(prompt)

    assert [used(client, "a"), used(client, "b"), used(client, "a")] == [10, 10, 10]
    assert client.session.call_count == fresh(2)


def test_an_autospec_of_a_class_as_an_argument(project, fresh):
    kind = create_autospec(Client)
    kind.return_value.ask.return_value = "yes"

    @project.task
    def ask(kind, prompt):
        return kind(model="large").ask(prompt, temperature=1)

    assert [ask(kind, "a"), ask(kind, "b"), ask(kind, "a")] == ["yes"] * 3
    assert kind.call_count == fresh(2)


def test_a_mock_that_wraps_as_an_argument(project, fresh):
    client = Mock(wraps=Client())

    @project.task
    def ask(client, prompt):
        return client.ask(prompt)

    assert [ask(client, "a"), ask(client, "b"), ask(client, "a")] == ["small: a", "small: b", "small: a"]
    assert client.ask.call_count == fresh(2)
    assert ask(Mock(wraps=Client("large")), "a") == "large: a"


def test_mocks_of_two_classes_are_told_apart(project):
    class Other:
        def ask(self, prompt, temperature=0):
            return prompt

    def named(spec):
        client = Mock(spec=spec)

        @project.task
        def name(x):
            return client.__class__.__name__

        return name(1)

    assert [named(Client), named(Other), named(Client)] == ["Client", "Other", "Client"]


def test_a_mock_with_the_spec_of_a_function(project, fresh):
    get = MagicMock(spec=fetch, return_value="page")

    @project.task
    def page(url):
        return get(url)

    assert [page("a"), page("b"), page("a")] == ["page"] * 3
    assert get.call_count == fresh(2)


def test_a_sealed_mock(project, fresh):
    client = Mock()
    client.ask.return_value = "yes"
    mock.seal(client)

    @project.task
    def ask(prompt):
        return client.ask(prompt)

    assert [ask("a"), ask("b"), ask("a")] == ["yes"] * 3
    assert client.ask.call_count == fresh(2)


def test_attributes_that_the_task_sets_on_a_mock(project, fresh):
    client = Mock()

    @project.task
    def ask(prompt):
        client.last = prompt
        client.headers = {"prompt": prompt}
        return prompt.upper()

    assert [ask("a"), ask("b"), ask("a")] == ["A", "B", "A"]
    if fresh(1):
        assert client.last == "b"


def test_mocks_that_lead_in_a_circle(project, fresh):
    parent, child = MagicMock(), MagicMock()
    parent.child, child.parent = child, parent
    parent.clone.return_value = parent
    child.ask.return_value = "yes"

    @project.task
    def ask(prompt):
        return parent.clone().child.parent.child.ask(prompt)

    assert [ask("a"), ask("b"), ask("a")] == ["yes"] * 3
    assert child.ask.call_count == fresh(2)
