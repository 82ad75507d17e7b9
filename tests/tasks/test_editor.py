"""What editors show about a task: the tests query a language server that is started as editors start it."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

SCRIPT = '''
from collections.abc import Iterator

import beautyspot as bs

project = bs.Project("app")


@project.task
def embed(text: str, size: int = 3) -> list[float]:
    """The embedding of a text."""
    return [0.0] * size


@project.task(version="2")
async def fetch(url: str) -> bytes:
    """The content of a page."""
    return b""


@project.task
def ask(prompt: str) -> Iterator[str]:
    """The words of an answer."""
    yield prompt


@project.batch_task(size=8)
def score(texts: list[str], weight: float) -> list[float]:
    """How good texts are."""
    return [weight for _ in texts]


class Model:
    @project.task
    def judge(self, text: str) -> bool:
        """Whether a text is good."""
        return True


project.task(
project.batch_task(
embed(
fetch(
ask(
score(
Model().judge(
'''


class Server:
    """A language server with one script open.

    Args:
        directory: The directory of the script.
    """

    def __init__(self, directory: Path) -> None:
        self._file = directory / "job.py"
        self._file.write_text(SCRIPT)
        command = [str(Path(sys.executable).with_name("pyright-langserver")), "--stdio"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self._request_id = 0
        folder = [{"uri": directory.as_uri(), "name": "app"}]
        capabilities = {"workspace": {"configuration": True, "workspaceFolders": True}}
        self._request(
            "initialize", processId=None, rootUri=directory.as_uri(), workspaceFolders=folder, capabilities=capabilities
        )
        self._send(method="initialized", params={})
        document = {"uri": self._file.as_uri(), "languageId": "python", "version": 1, "text": SCRIPT}
        self._send(method="textDocument/didOpen", params={"textDocument": document})

    def hover(self, call: str) -> str:
        """Return the text shown when the pointer is over the name of the called function."""
        answer = self._at("textDocument/hover", call, len(call) - 2)
        return str(answer["contents"]["value"])

    def signature(self, call: str) -> str:
        """Return the signature shown after the opening parenthesis."""
        answer = self._at("textDocument/signatureHelp", call, len(call))
        return str(answer["signatures"][0]["label"])

    def signatures(self, call: str) -> list[str]:
        """Return all signatures shown after the opening parenthesis: an overloaded function has several."""
        return [str(each["label"]) for each in self._at("textDocument/signatureHelp", call, len(call))["signatures"]]

    def _at(self, method: str, call: str, character: int) -> Any:
        position = {"line": SCRIPT.splitlines().index(call), "character": character}
        return self._request(method, textDocument={"uri": self._file.as_uri()}, position=position)

    def _request(self, method: str, **params: Any) -> Any:
        self._request_id += 1
        self._send(id=self._request_id, method=method, params=params)
        while True:
            message = self._receive()
            if "method" not in message and message["id"] == self._request_id:
                return message["result"]
            if "method" in message and "id" in message:  # the server asks how it is configured
                here = {"extraPaths": [str(Path(__file__).parent.parent.parent)]}
                settings = {"python": {"pythonPath": sys.executable, "analysis": here}, "python.analysis": here}
                items = (message["params"] or {}).get("items", [])
                found = [settings.get(item["section"]) for item in items]
                self._send(id=message["id"], result=found)

    def _send(self, **message: Any) -> None:
        assert self._process.stdin is not None
        content = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self._process.stdin.write(b"Content-Length: %d\r\n\r\n%b" % (len(content), content))
        self._process.stdin.flush()

    def _receive(self) -> Any:
        assert self._process.stdout is not None
        length = 0
        while (line := self._process.stdout.readline().strip()) or not length:
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        return json.loads(self._process.stdout.read(length))

    def stop(self) -> None:
        """Kill the server."""
        self._process.kill()
        self._process.communicate()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("editor"))
    yield server
    server.stop()


@pytest.mark.parametrize(
    ("call", "kind", "signature", "docstring"),
    [
        ("embed(", "Task[", "(text: str, size: int = 3) -> list[float]", "The embedding of a text."),
        ("fetch(", "AsyncTask[", "(url: str) -> CoroutineType[Any, Any, bytes]", "The content of a page."),
        ("ask(", "StreamTask[", "(prompt: str) -> Generator[str, None, None]", "The words of an answer."),
        ("score(", "BatchTask[", "weight: float) -> list[float]", "How good texts are."),
        ("Model().judge(", "BoundTask[", "(text: str) -> bool", "Whether a text is good."),
    ],
    ids=["function", "async", "stream", "batch", "method"],
)
def test_an_editor_shows_the_signature_and_the_docstring_of_the_function(
    server: Server, call: str, kind: str, signature: str, docstring: str
) -> None:
    assert kind in server.hover(call)
    assert docstring in server.hover(call)
    assert server.signature(call).endswith(signature)


@pytest.mark.parametrize("call", ["project.task(", "project.batch_task("])
def test_an_editor_shows_the_options_of_a_decorator(server: Server, call: str) -> None:
    shown = server.signatures(call)[-1]
    assert "version: str | int | None" in shown
    assert "ttl: str | float | timedelta | None" in shown
