"""Links of the READMEs resolve wherever they are shown: on the package index, in the documentation, in a clone."""

import re
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

from tests.support.record_demo import Screen, draw, frames

ROOT = Path(__file__).parent.parent
DOCUMENTATION = "https://beautyspot.readthedocs.io/en/latest/"
READMES = [ROOT / "README.md", ROOT / "README.ja.md"]
LINK = re.compile(r"\]\(([^)\s]+)\)|<(https?://[^>]+)>|^\[[^\]]+\]: +(\S+)|(?:href|src)=\"([^\"]+)\"", re.MULTILINE)


def links(text: str) -> list[str]:
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return ["".join(found) for found in LINK.findall(prose)]


def source(url: str) -> Path:
    """The file here that a page or a picture of the documentation is built from."""
    path = url.removeprefix(DOCUMENTATION).partition("#")[0] or "index.html"
    return ROOT / "docs" / (path.removesuffix(".html") + ".md" if path.endswith(".html") else path)


@pytest.mark.parametrize("readme", READMES, ids=lambda path: path.name)
def test_every_link_is_absolute(readme: Path) -> None:
    found = links(readme.read_text(encoding="utf-8"))
    assert found
    assert [link for link in found if not link.startswith("https://")] == []


@pytest.mark.parametrize("readme", READMES, ids=lambda path: path.name)
def test_links_to_the_documentation_name_a_file_of_it(readme: Path) -> None:
    ours = [link for link in links(readme.read_text(encoding="utf-8")) if link.startswith(DOCUMENTATION)]
    assert ours
    assert [link for link in ours if not source(link).is_file()] == []


def test_both_languages_have_the_same_links_and_the_same_code() -> None:
    english, japanese = (path.read_text(encoding="utf-8") for path in READMES)
    assert set(links(english)) - set(links(japanese)) == {f"{DOCUMENTATION}ja.html"}
    assert set(links(japanese)) - set(links(english)) == set()

    def code(text: str) -> list[str]:
        blocks = re.findall(r"^```\w+\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
        return [re.sub(r" *# (?!ask).*$", "", block, flags=re.MULTILINE) for block in blocks]

    assert code(english) == code(japanese)


def test_the_first_program_resumes_when_it_was_killed_and_runs_nothing_the_third_time(tmp_path: Path) -> None:
    [program, *_] = re.findall(r"^```python\n(.*?)^```$", READMES[0].read_text(), flags=re.MULTILINE | re.DOTALL)
    (tmp_path / "ask.py").write_text(program)
    command = [sys.executable, "-W", "error", "ask.py"]
    first = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (tmp_path / "answers.db").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(0.8)
    first.kill()
    first.wait()
    again, third = (
        subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout for _ in range(2)
    )
    kept, left = map(int, re.findall(r"(\d+) kept, (\d+) to run", again)[0])
    assert kept + left == 120
    assert kept > 0
    assert "120 kept, 0 to run" in third
    assert again.endswith("120 answers, 6,840 tokens\n")


def test_the_metadata_links_to_the_documentation() -> None:
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]
    assert {"Homepage", "Documentation", "Changelog"} <= set(urls)
    assert source(urls["Changelog"]).is_file()


def test_the_recording_of_the_demo_needs_no_network_and_is_small() -> None:
    picture = (ROOT / "docs" / "_static" / "demo.svg").read_text(encoding="utf-8")
    assert len(picture.encode()) < 60_000
    assert re.findall(r"https?://[^\"']+", picture) == ["http://www.w3.org/2000/svg"]
    assert "<script" not in picture


def test_a_recording_shows_a_bar_at_one_time_with_one_length() -> None:
    parts = [(0.0, "$ work\r\n"), (0.5, "\r 10%|#   |"), (1.5, "\r100%|####|\r\nDone <all>\r\n")]
    screen = Screen()
    for _, text in parts:
        screen.write(text)
    assert screen.lines == ["$ work", "100%|####|", "Done <all>", ""]
    lines, length = frames(parts)
    assert [text for _, text in lines[2].shown] == [" 10%|#   |", "100%|####|"]
    picture = draw(lines, length)
    assert "Done &lt;all&gt;" in picture
    assert picture.count("|</text>") == 0  # each has its animation
    assert 'visibility="hidden"> 10%' in picture
    assert 'visibility="hidden">100%' not in picture
