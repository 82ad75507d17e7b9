"""Type-checked by mypy and pyright, and never run: the decorator's types stay right."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from typing import assert_type

import beautyspot as bs

project = bs.Project("typing")


@project.task
def plain(x: int, y: str = "") -> list[str]:
    return [y] * x


@project.task(version="2", ttl="30d", ignore=("y",), key=bs.KeyGen.file_content("x"))
def with_options(x: int, y: str = "") -> list[str]:
    return [y] * x


@project.task
async def fetch(url: str) -> bytes:
    return url.encode()


@project.task(save_blob=True)
async def fetch_large(url: str) -> bytes:
    return url.encode()


@project.task
@project.limiter(cost=lambda text: len(text), settle=lambda result: result["tokens"], max_wait=30)
def limited(text: str) -> dict[str, int]:
    return {"tokens": len(text)}


@project.limiter("100/minute", cost=1, key=lambda model, **_: model)
async def limited_async(model: str) -> bytes:
    return model.encode()


@project.limiter
def limited_plainly(x: int) -> int:
    return x


@project.task
def stream(prompt: str) -> Iterator[bytes]:
    yield prompt.encode()


@project.task(version="2")
def generate(prompt: str) -> Generator[bytes, None, None]:
    yield prompt.encode()


@project.task
@project.limiter(cost=5)
async def stream_async(prompt: str) -> AsyncIterator[bytes]:
    yield prompt.encode()


class Client:
    @project.task
    def get(self, path: str) -> int:
        return len(path)

    @project.task
    def stream(self, path: str) -> Iterator[int]:
        yield len(path)

    @project.task
    async def stream_async(self, path: str) -> AsyncIterator[int]:
        yield len(path)

    @project.task
    async def get_async(self, path: str) -> int:
        return len(path)


@project.batch_task
def embed(texts: list[str], model: str = "small") -> list[list[float]]:
    return [[float(len(text))] for text in texts]


@project.batch_task(size=16, ttl="30d")
def measure(texts: list[str]) -> tuple[int, ...]:
    return tuple(map(len, texts))


@project.batch_task(batch="texts")
def embed_second(model: str, texts: list[str]) -> list[int]:
    return [len(text) for text in texts]


@project.batch_task(size=16)
async def embed_async(texts: list[str]) -> list[int]:
    return [len(text) for text in texts]


class Model:
    @project.batch_task
    def embed(self, texts: list[str], scale: int = 1) -> list[int]:
        return [scale * len(text) for text in texts]

    @project.batch_task(size=8)
    async def embed_async(self, texts: list[str]) -> list[int]:
        return [len(text) for text in texts]


assert_type(embed(["a"], model="large"), list[list[float]])
assert_type(embed(text for text in "abc"), list[list[float]])
assert_type(embed.refresh("a"), list[float])
assert_type(embed.key("a", model="large"), str)
assert_type(embed.cached("a"), bool)
assert_type(embed.peek("a"), list[float] | None)
assert_type(embed.map(["a"]), list[list[float]])
assert_type(bs.map(embed, ["a"]), list[list[float]])
assert_type(next(bs.imap(embed, ["a"])), list[float])
assert_type(measure(["a"]), list[int])
assert_type(embed_second("m", ["a"]), list[int])
assert_type(embed_second.key("m", "a"), str)
assert_type(Model().embed(["a"], scale=2), list[int])
assert_type(Model().embed.refresh("a"), int)
assert_type(bs.map(Model().embed, ["a"]), list[int])
embed([1])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
embed.key(["a"])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
embed(["a"], mode="large")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
Model().embed([1])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
project.batch_task(sizes=3)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]


assert_type(plain(1, "a"), list[str])
assert_type(plain.refresh(1), list[str])
assert_type(plain.key(1, y="a"), str)
assert_type(plain.cached(1), bool)
assert_type(plain.forget(1), bool)
assert_type(with_options(1), list[str])
assert_type(Client().get("a"), int)
assert_type(Client().get.refresh("a"), int)
assert_type(bs.map(plain, [1, 2]), list[list[str]])
assert_type(bs.map(Client().get, ["a"]), list[int])
assert_type(plain.map([1]), list[list[str]])
assert_type(next(bs.imap(plain, [1])), list[str])
assert_type(bs.map(plain, [1], fixed={"y": "a"}), list[list[str]])
assert_type(bs.map(plain, [{"x": 1}], unpack=True), list[list[str]])
assert_type(bs.map(plain, [1], on_error="return"), list[list[str] | Exception])
assert_type(bs.map(plain, [1], on_error="continue", fixed={}), list[list[str]])
assert_type(bs.imap(plain, [1], on_error="return", ordered=False), Generator[list[str] | Exception, None, None])
assert_type(plain.map([1], fixed={"y": "a"}, workers=8, engine="processes"), list[list[str]])
assert_type(Client().get.map(["a"], unpack=False), list[int])
assert_type(bs.plan(plain, [1], fixed={"y": "a"}), bs.Plan)
plain.map([1], worker=8)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
assert_type(plain.explain(1).kept, bool)
assert_type(limited("a"), dict[str, int])
assert_type(limited_plainly(1), int)
with project.limit(cost=5, key="k", max_wait=1) as permit:
    permit.settle(3)

assert_type(stream("a"), Generator[bytes, None, None])
assert_type(generate("a"), Generator[bytes, None, None])
assert_type(stream_async("a"), AsyncGenerator[bytes, None])
assert_type(stream.peek("a"), list[bytes] | None)
assert_type(bs.map(stream, ["a"]), list[list[bytes]])
assert_type(Client().stream("a"), Generator[int, None, None])
assert_type(Client().stream_async("a"), AsyncGenerator[int, None])
assert_type(bs.map(Client().stream, ["a"]), list[list[int]])
stream.put("a", [b"a"])
stream(3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

plain("a")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
plain()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
plain(1, z=2)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
limited(3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
limited_plainly("a")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
project.task(verson="2")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
project.task(mmap="yes")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
project.limiter(costs=3)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
Client().get(3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def main() -> None:
    assert_type(await fetch("a"), bytes)
    assert_type(await fetch_large.refresh("a"), bytes)
    assert_type(await Client().get_async("a"), int)
    assert_type(await bs.amap(fetch, ["a"]), list[bytes])
    assert_type(await bs.amap(fetch, ["a"], on_error="return", unpack=False), list[bytes | Exception])
    assert_type(bs.aimap(fetch, ["a"], on_error="return"), AsyncGenerator[bytes | Exception, None])
    assert_type(await fetch.map(["a"], workers=8), list[bytes])
    assert_type(await Client().get_async.map(["a"]), list[int])
    assert_type(await embed_async.map(["a"]), list[int])
    async for page in bs.aimap(fetch, ["a"], fixed={}):
        assert_type(page, bytes)
    assert_type(await limited_async("m"), bytes)
    assert_type(await embed_async(["a"]), list[int])
    assert_type(await embed_async.refresh("a"), int)
    assert_type(await bs.amap(embed_async, ["a"]), list[int])
    assert_type(await Model().embed_async(["a"]), list[int])
    async with project.limit(cost=5) as permit:
        permit.settle(3)
    await fetch(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
