"""Takes the screenshots of the results app for the documentation: ``python -m tests.support.screenshots``."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Page

from tests.support.browser import ROWS, Ui, chromium, opened, see

PICTURES = Path(__file__).parent.parent.parent / "docs" / "_static"
FLOW = "graph LR; Q[Question] --> C{Cached?}; C -->|yes| R[Read]; C -->|no| B[Budget]; B --> M[Model]; M --> W[Store]; W --> R"
TOPICS = ("tides", "glaciers", "monsoons", "auroras", "volcanoes", "coral reefs", "deserts", "rivers")
RUNNING = """
import time, beautyspot as bs
project = bs.Project("weather", db="weather.db", storage_path="blobs")
@project.task
def embed(text):
    time.sleep(0.05)
    if text.endswith("7"):
        raise TimeoutError("no answer within 30 s")
    return [len(text)] * 8
bs.map(embed, [f"page {i}" for i in range(120)], on_error="return", progress=False)
bs.map(embed, [f"page {i}" for i in range(4000)], workers=2, on_error="return", progress=False)
"""


JOB = """
import random, time
import beautyspot as bs
from beautyspot import ContentType

chance = random.Random(4)
project = bs.Project("weather")

@project.task
def ask(question, model="small"):
    time.sleep(chance.random() / 200)
    answer = f"{question} In short: it depends on the season, the latitude and the wind. " * 2
    return {"answer": answer, "usage": {"input": 12, "output": 57}, "sources": ["atlas", "almanac"]}

@project.task(content_type=ContentType.MARKDOWN)
def summarize(topic):
    return f"# {topic.title()}\\n\\n* first seen from orbit in **1972**\\n* measured every six hours\\n"

@project.task(content_type=ContentType.MERMAID)
def draw(topic):
    return "graph LR; Q[Question] --> C{Cached?}; C -->|yes| R[Read]; C -->|no| M[Model]; M --> W[Store]; W --> R"

topics = ["tides", "glaciers", "monsoons", "auroras", "volcanoes", "coral reefs", "deserts", "rivers"]
for topic in topics:
    summarize(topic)
for number in range(70):
    ask(f"How do {topics[number % 8]} change in year {1950 + number}?")
draw("how a question is answered")
"""


def picture(page: Page, name: str) -> None:
    page.wait_for_timeout(800)
    page.screenshot(path=PICTURES / f"results-app{name}.png")


def main() -> None:
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name, chromium() as browser:
        directory = Path(name)
        (directory / "weather.py").write_text(JOB)
        (directory / "night.py").write_text(RUNNING)
        subprocess.run([sys.executable, "weather.py"], cwd=directory, check=True)
        job = subprocess.Popen([sys.executable, "night.py"], cwd=directory)
        time.sleep(7)
        ui = Ui(directory / "weather.db")
        page = browser.new_page(viewport={"width": 1280, "height": 720})
        opened(page, ui.url, text="how")
        see(page, "draw")
        page.frame_locator(".value iframe").locator("svg").first.wait_for()
        picture(page, "")
        for tab in ("functions", "maps", "health"):
            page.get_by_role("tab", name=tab.title()).click()
            page.wait_for_timeout(2500)
            if tab == "health":
                page.get_by_role("button", name="Check everything").click()
                page.wait_for_timeout(2500)
            picture(page, f"-{tab}")
        opened(page, ui.url, status="Failed")
        page.locator(ROWS).first.click()
        page.get_by_label("Toggle theme").click()
        picture(page, "-failures")
        page.set_viewport_size({"width": 420, "height": 720})
        opened(page, ui.url, text="tides")
        page.locator(ROWS).first.click()
        picture(page, "-narrow")
        ui.stop()
        job.kill()
        job.wait()


if __name__ == "__main__":
    main()
