"""Records ``make demo`` on a terminal as an animated picture: ``python -m tests.support.record_demo``.

The demo really runs, on a terminal of its own. Its output is interpreted as a terminal would, with the time of each
part, and drawn as an SVG that needs no script and no font of its own. Every line of the screen is drawn once for each
text that it shows; a viewer that does not animate shows the last screen. Only pauses are edited: one of more than a
second is cut to a second.
"""

import argparse
import os
import pty
import re
import subprocess
import termios
import time
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

PICTURE = Path(__file__).parent.parent.parent / "docs" / "_static" / "demo.svg"
COLUMNS, ROWS = 92, 26
STEP = 0.1  # seconds between two frames
LONGEST_WAIT = 1.0
LAST = 6.0  # seconds for which the last screen is shown
CELL, LINE, EDGE, BAR = 8, 18, 16, 30  # pixels
COMMAND = ("make", "-o", ".venv/ready", "demo")  # -o: make does not update the environment that this runs in
STYLE = (
    "text{font:13px ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace;fill:#d4d7dd;"
    "white-space:pre}.p{fill:#7ee0a2}"
)


class Screen:
    """A terminal for what ``print`` and a progress bar write: text, carriage return, new line, cursor up."""

    def __init__(self) -> None:
        self.lines = [""]
        self._row = self._column = 0

    def write(self, text: str) -> None:
        """Write *text* to the screen."""
        for part in re.findall(r"\x1b\[\d*[A-Za-z]|[\r\n]|[^\r\n\x1b]+", text):
            if part == "\r":
                self._column = 0
            elif part == "\n":
                self._row, self._column = self._row + 1, 0
                self.lines += [""] * (self._row + 1 - len(self.lines))
            elif part == "\x1b[A":
                self._row -= 1
            elif part.startswith("\x1b"):
                raise ValueError(f"the demo wrote {part!r}, which this terminal does not know")
            else:
                line = self.lines[self._row].ljust(self._column)
                self.lines[self._row] = line[: self._column] + part + line[self._column + len(part) :]
                self._column += len(part)


def record(command: tuple[str, ...]) -> list[tuple[float, str]]:
    """Run *command* on a terminal; return each part of its output with its time in seconds after the start."""
    environment = {**os.environ, "TERM": "xterm"}
    environment.pop("COLUMNS", None)
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (ROWS, COLUMNS))
    started = time.monotonic()
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    parts = []
    while True:
        try:
            parts.append((time.monotonic() - started, os.read(ours, 65536)))
        except OSError:  # it has ended
            break
    os.close(ours)
    if process.wait() != 0:
        raise SystemExit(b"".join(part for _, part in parts).decode())
    text = b""
    decoded = []
    for at, part in parts:
        text += part
        whole = text.decode(errors="ignore")  # the end of the last character may be in the next part
        text = text[len(whole.encode()) :]
        decoded.append((at, whole))
    return decoded


@dataclass
class Line:
    """A row of the screen: each text that it showed, with the time at which it appeared."""

    shown: list[tuple[float, str]] = field(default_factory=list)

    def show(self, at: float, text: str) -> None:
        """Show *text* from the time *at* on."""
        if not self.shown or self.shown[-1][1] != text:
            self.shown.append((at, text))


def frames(parts: list[tuple[float, str]]) -> tuple[list[Line], float]:
    """Return the rows of the screen and the length of the recording in seconds."""
    screen, lines = Screen(), [Line()]
    prompt = "$ make demo"
    for typed in range(2, len(prompt) + 1):
        lines[0].show(max(0.0, (typed - 2) * 0.08), prompt[:typed])
    shown_at = clock = 1.2  # seconds, of the recording
    before = parts[0][0]
    for at, text in parts:
        clock += min(at - before, LONGEST_WAIT)
        before = at
        screen.write(text)
        if clock - shown_at >= STEP or at == parts[-1][0]:
            shown_at = clock
            lines += [Line() for _ in range(len(screen.lines) + 1 - len(lines))]
            for line, shown in zip(lines[1:], screen.lines, strict=True):
                line.show(clock, shown.rstrip())
    while not lines[-1].shown[-1][1]:
        lines.pop()
    return lines, clock + LAST


def draw(lines: list[Line], length: float) -> str:
    """Draw the recording as an SVG."""
    if len(lines) > ROWS:
        raise ValueError(f"the demo wrote {len(lines)} lines, and the picture has {ROWS}")
    width, height = COLUMNS * CELL + 2 * EDGE, len(lines) * LINE + BAR + EDGE
    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'role="img"><title>make demo: a run that is killed at 40 %, its resumption, and a third run</title>',
        f"<style>{STYLE}</style>",
        f'<rect width="{width}" height="{height}" rx="8" fill="#16181d"/>',
        *(
            f'<circle cx="{EDGE + 4 + 18 * number}" cy="16" r="5" fill="{colour}"/>'
            for number, colour in enumerate(("#ff5f57", "#febc2e", "#28c840"))
        ),
    ]
    for number, line in enumerate(lines):
        for index, (at, text) in enumerate(line.shown):
            if not text:
                continue
            last = index + 1 == len(line.shown)
            until = length if last else line.shown[index + 1][0]
            times = f"0;{at / length:.4f}" + ("" if last else f";{until / length:.4f}")
            values = "hidden;visible" + ("" if last else ";hidden")
            drawn.append(
                f'<text x="{EDGE}" y="{BAR + EDGE + number * LINE}" textLength="{len(text) * CELL}"'
                + (' class="p"' if number == 0 else "")
                + ("" if last else ' visibility="hidden"')
                + f">{escape(text, quote=False)}"
                + f'<animate attributeName="visibility" calcMode="discrete" dur="{length:.1f}s" '
                + f'repeatCount="indefinite" values="{values}" keyTimes="{times}"/></text>'
            )
    return "\n".join([*drawn, "</svg>", ""])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.support.record_demo", description=__doc__)
    parser.add_argument("picture", nargs="?", type=Path, default=PICTURE)
    picture = parser.parse_args().picture
    picture.write_text(draw(*frames(record(COMMAND))), encoding="utf-8")
    print(f"{picture}: {picture.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
