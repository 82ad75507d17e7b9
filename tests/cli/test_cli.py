"""The command line: what it prints, what it leaves as it is, what it asks, and how it ends."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import beautyspot as bs
from beautyspot.cli import COMMANDS, main
from beautyspot.protocols.index import Selection
from beautyspot.testing import make_key
from tests.maintenance.test_maintenance import SECRET, change_rows, everything
from tests.support.servers import S3Server
from tests.support.terminal import on_terminal

BEAUTYSPOT = str(Path(sys.executable).with_name("beautyspot"))
LOOKS = ["list", "stats", "failures", "verify", "gc --dry-run", "prune --older-than 0 --dry-run", "clear --dry-run"]
PAST = time.time() - 7200


def beautyspot(*words: str) -> Result:
    return CliRunner().invoke(main, list(words))


def lines_of(*words: str) -> list[str]:
    """The lines of a command that ends well."""
    done = beautyspot(*words)
    assert (done.exit_code, done.exception) == (0, None), done.output
    return done.stdout.splitlines()


def rows_of(*words: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines_of(*words, "--json")]


@pytest.fixture
def kept() -> Iterator[bs.Project]:
    """Twelve results of three functions, of which two are blobs and one has expired, and two failures."""
    with bs.Project("job", blob_threshold=400) as project:

        def greet(name: str, times: int = 1) -> dict[str, Any]:
            if name == "nobody":
                raise ValueError(f"cannot greet {times} times \x1b[31mnobody")
            return {"text": f"Hello, {name}! " * times}

        def draw(size: int) -> bytes:
            return b"\x89PNG" + bytes(size)

        def soon(x: int) -> int:
            return x

        for function in (greet, draw, soon):
            function.__qualname__, function.__module__ = function.__name__, "job"
        hello = project.task(version="2")(greet)
        for i in range(9):
            hello(f"name {i}")
        for times in (1, 2):
            with pytest.raises(ValueError):
                hello("nobody", times)
        picture = project.task(content_type="image/png")(draw)
        picture(500)
        picture(2000)
        project.task(ttl=0.001)(soon)(1)
        time.sleep(0.01)
        project.close()
        yield project


def key_of(*words: str) -> str:
    return str(rows_of("list", *words)[0]["key"])


# --- finding the index


def test_the_one_index_of_the_directory_is_found(kept: bs.Project) -> None:
    assert lines_of("stats") == lines_of("stats", "job.db") == lines_of("stats", "sqlite:///job.db")


def test_without_an_index_the_error_says_what_to_write() -> None:
    done = beautyspot("list")
    assert done.exit_code == 1
    assert done.stderr.startswith("Error: no .db file is in this directory: write its path, or a URL, as DB")
    assert len(done.stderr.splitlines()) == 1


def test_several_indexes_are_listed(kept: bs.Project) -> None:
    Path("other.db").write_bytes(b"")
    done = beautyspot("show", "00")
    assert done.exit_code == 1
    assert "more than one index is in this directory (job.db, other.db): write its path" in done.stderr


def test_blobs_are_found_beside_the_index(
    kept: bs.Project, tmp_path_factory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = str(Path("job.db").absolute())
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    Path("blobs").mkdir()
    assert lines_of("verify", index) == ["12 results checked: all whole"]


def test_commands_work_on_servers(postgres_url: str, s3_server: S3Server, s3_url: str) -> None:
    with bs.Project("p", db=postgres_url, storage_path=s3_url, s3_opts=s3_server.options) as project:
        bs.map(project.task(version="1", save_blob=True)(lambda n: "y" * n), range(5))
        project.storage.save(make_key(1).hex(), [b"nobody's"])
    places = ["--storage-path", s3_url]
    places += [word for name, value in s3_server.options.items() for word in ("--s3-opt", f"{name}={value}")]
    assert len(rows_of("list", postgres_url, *places)) == 5
    assert lines_of("verify", postgres_url, *places) == ["5 results checked: all whole"]
    assert lines_of("gc", postgres_url, *places, "--grace", "0", "--yes")[-1] == "deleted 1 blob, 8 B"
    key = key_of(postgres_url, *places, "--text", "n=4")
    assert lines_of("show", postgres_url, key[:10], *places)[-1] == "yyyy"
    assert lines_of("clear", postgres_url, *places, "--yes")[-1] == "deleted 5 results"


@pytest.mark.parametrize("words", [*LOOKS, "show KEY", "explain KEY", "export out.jsonl"])
def test_reading_commands_change_no_byte(kept: bs.Project, words: str) -> None:
    key = key_of()
    before = everything(Path())
    done = beautyspot(*[key if word == "KEY" else word for word in words.split()])
    assert done.exit_code == 0, done.output
    after = everything(Path())
    assert {name: content for name, content in after.items() if "out." not in name} == before


# --- errors

ERRORS = {
    "nowhere.db": "there is no index at nowhere.db",
    "mysql://host/name": "no index is known as 'mysql'",
    "text.db": "belongs to another program or to an older beautyspot",
    "newer.db": "has schema 99",
    "empty.db": "has schema 0",
}


@pytest.mark.parametrize("place", ERRORS)
@pytest.mark.parametrize("words", [*LOOKS, "clear --yes", "show 00"])
def test_a_file_that_is_no_index_is_an_error_of_one_line(place: str, words: str, kept: bs.Project) -> None:
    import sqlite3

    Path("text.db").write_text("no database, but a text that is long enough to be taken for one" * 20)
    Path("empty.db").write_bytes(b"")
    with sqlite3.connect("job.db") as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    Path("job.db").rename("newer.db")
    before = everything(Path())
    command, *rest = words.split()
    done = beautyspot(command, place, *rest)
    assert done.exit_code == 1
    assert ERRORS[place] in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "Traceback" not in done.output
    assert everything(Path()) == before


def test_an_option_that_cannot_be_is_named() -> None:
    assert (
        "Invalid value for '--older-than': a duration is a number with one of s, m, h"
        in beautyspot("list", "--older-than", "7").stderr
    )
    assert (
        "Invalid value for '--larger': a size is a number of bytes" in beautyspot("list", "--larger", "1 apple").stderr
    )


def test_a_closed_output_is_no_error(kept: bs.Project) -> None:
    for command in ("list --json", "export --format csv -", "stats"):
        words = f"{BEAUTYSPOT} {command} | head -c 1"
        done = subprocess.run(["bash", "-c", words], capture_output=True, text=True)
        assert len(done.stdout) == 1
        assert "Traceback" not in done.stderr
        assert "rror" not in done.stderr


def test_no_command_loads_what_another_one_needs() -> None:
    code = "import sys; from beautyspot.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass\nprint(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.split()
    assert {"panel", "rich", "tqdm", "sqlite3", "numpy", "beautyspot.cli.list"}.isdisjoint(loaded)


def test_the_help_fits_a_screen() -> None:
    shown = lines_of("--help")
    assert len(shown) <= 24
    assert max(map(len, shown)) <= 80
    assert all(any(line.strip().startswith(name) for line in shown) for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_documented(name: str) -> None:
    guide = Path(__file__).parent.parent.parent / "docs" / "guide"
    page = (guide / "commands.md").read_text() + (guide / "results_app.md").read_text() * (name == "ui")
    assert f"\n## `{name}`" in page or re.search(rf"^#+ .*`{name}`", page, re.MULTILINE)
    for option in (o for p in main.get_command(None, name).params for o in p.opts if o.startswith("--")):  # type: ignore[arg-type, union-attr]
        assert f"`{option}" in page or f" {option}" in page, option


# --- list, stats, failures


def test_rows_are_listed_newest_first(kept: bs.Project) -> None:
    rows = rows_of("list")
    assert [row["function"] for row in rows[:4]] == ["job.soon", "job.draw", "job.draw", "job.greet"]
    assert rows[3]["input"] == "name='name 8', times=1"
    assert rows_of("list", "--ascending") == rows[::-1]
    done = beautyspot("list", "--limit", "2")
    assert [line.split("\t")[2] for line in done.stdout.splitlines()] == ["function", "job.soon", "job.draw"]
    assert done.stderr == "2 of 12 results; --limit 12 lists all\n"


@pytest.mark.parametrize(
    ("words", "count"),
    [
        ("--function job.greet", 9),
        ("--function draw", 2),
        ("--version 2", 9),
        ("--status expired", 1),
        ("--status failed", 2),
        ("--older-than 1h", 0),
        ("--newer-than 1h", 12),
        ("--larger 0.5kB", 2),
        ("--larger 1KiB --smaller 1MB", 1),
        ("--text NAME --limit 3", 3),
        ("--function soon --version 2", 0),
    ],
)
def test_rows_are_filtered(kept: bs.Project, words: str, count: int) -> None:
    assert len(rows_of("list", *words.split())) == count
    if "--limit" not in words:
        assert beautyspot("list", *words.split()).stderr.startswith(f"{count} ")


def test_tasks_without_a_version_are_found_by_version_1(kept: bs.Project) -> None:
    assert len(rows_of("list", "--version", "1")) == 3


def test_rows_are_ordered(kept: bs.Project) -> None:
    sizes = [row["size"] for row in rows_of("list", "--order", "size")]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > 2000
    assert rows_of("list", "--order", "size", "--ascending", "--limit", "1")[0]["size"] == 1


def test_an_unknown_function_is_reported(kept: bs.Project) -> None:
    done = beautyspot("list", "--function", "great")
    assert "there is no result of a function great; there are results of job.draw, job.greet, job.soon" in done.stderr
    assert done.exit_code == 0


def test_functions_are_summed_up(kept: bs.Project) -> None:
    rows = {(row["function"], row["version"]): row for row in rows_of("stats")}
    assert (rows["job.greet", "2"]["results"], rows["job.greet", "2"]["failures"]) == (9, 2)
    shown = [line.split("\t") for line in lines_of("stats")]
    assert shown[0][:3] == ["function", "version", "results"]
    assert len(shown) == 4


def test_failures_are_shown_with_their_traceback(kept: bs.Project) -> None:
    shown = "\n".join(lines_of("failures"))
    assert "ValueError: cannot greet 2 times \\x1b[31mnobody" in shown
    assert "Traceback" not in shown
    assert "Traceback (most recent call last)" in "\n".join(lines_of("failures", "--text", "times=2"))
    assert "\n".join(lines_of("failures", "--traceback")).count("Traceback") == 2
    assert "\x1b" not in "\n".join(lines_of("failures", "--traceback"))
    assert [row["error"] for row in rows_of("failures", "--function", "greet")] == ["builtins.ValueError"] * 2


# --- show, explain


def test_a_result_is_shown(kept: bs.Project) -> None:
    shown = lines_of("show", key_of("--function", "greet")[:12])
    assert shown[1:4] == ["function  job.greet", "version   2", "input     name='name 8', times=1"]
    assert shown[-1] == "{'text': 'Hello, name 8! '}"


def test_the_bytes_of_a_result_become_a_file(kept: bs.Project) -> None:
    key = key_of("--function", "draw")
    assert lines_of("show", key)[-1] == "… --raw FILE writes all of it"
    done = beautyspot("show", key, "--raw", "a.png")
    assert done.stderr == "a.png: 2.0 kB of image/png\n"
    assert Path("a.png").read_bytes() == b"\x89PNG" + bytes(2000)
    done = subprocess.run([BEAUTYSPOT, "show", key, "--raw", "-"], capture_output=True)
    assert done.stdout == b"\x89PNG" + bytes(2000)


def test_a_result_is_shown_as_json(kept: bs.Project) -> None:
    (told,) = rows_of("show", key_of("--function", "greet"))
    assert told["value"] == {"text": "Hello, name 8! "}
    assert told["problem"] is None


def test_a_failed_call_is_shown_by_its_traceback(kept: bs.Project) -> None:
    key = rows_of("failures")[0]["key"]
    assert "Traceback" in "\n".join(lines_of("show", key))
    done = beautyspot("show", key, "--raw", "x")
    assert (done.exit_code, "failed and has no value" in done.stderr) == (1, True)


def test_a_value_that_cannot_be_read_is_one_line(kept: bs.Project) -> None:
    key = key_of("--function", "draw")
    for blob in Path("blobs").rglob("*-*"):
        blob.write_bytes(b"damaged")
    done = beautyspot("show", key)
    assert done.exit_code == 1
    assert done.stdout.startswith(f"key       {key}")
    assert re.fullmatch(r"Error: .*has 7 bytes and should have \d+\n", done.stderr)


VALUES = {
    "a control character": ("\x1b]0;hacked\x07\x9b31m", "\\x1b]0;hacked\\x07\\x9b31m"),
    "a text that turns around": ("a\u202eb", "a\\u202eb"),
    "half a character": ("\ud800", "\\ud800"),
    "markup of rich": ("[red]text[/red]", "[red]text[/red]"),
    "a long list": (list(range(1000)), "... +970"),
    "a long text in a list": (["x" * 5000], "+3000"),
    "nested deep": (json.loads("[" * 90 + "]" * 90), "..."),
    "nothing": (None, "None"),
}


@pytest.mark.parametrize("case", VALUES)
def test_any_value_is_printed_harmlessly(case: str) -> None:
    value, expected = VALUES[case]
    with bs.Project("p") as project:
        project.task(version="1")(lambda x: x)(value)
    done = beautyspot("show", key_of())
    assert done.exit_code == 0, done.exception
    assert expected in done.stdout
    assert "\x1b" not in done.stdout
    assert beautyspot("show", key_of(), "--json").exit_code == 0
    assert beautyspot("list").exit_code == 0


def test_the_nearest_call_is_shown(kept: bs.Project) -> None:
    shown = lines_of("explain", key_of("--function", "greet"))
    assert shown[0] == "job.greet(name='name 8', times=1)"
    assert shown[1].startswith("kept: ")
    assert shown[2].endswith("(name='name 7', times=1); it differs in name")


def test_the_secret_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with bs.Project("p", secret=SECRET) as project:
        project.task(version="1", save_blob=True)(lambda: "a text")()
    done = beautyspot("verify")
    assert (done.exit_code, "1 unsigned" in done.stdout) == (1, True)
    assert "set BEAUTYSPOT_SECRET" in beautyspot("show", key_of()).stderr
    monkeypatch.setenv("BEAUTYSPOT_SECRET", SECRET)
    assert lines_of("verify") == ["1 result checked: all whole"]
    assert lines_of("show", key_of())[-1] == "a text"


# --- verify


def damage(project: bs.Project) -> None:
    change_rows(project, "size = 1", checksum=b"1234")
    sorted(Path("blobs").rglob("*-*"))[0].unlink()


def test_problems_are_listed_with_an_exit_code(kept: bs.Project) -> None:
    damage(kept)
    done = beautyspot("verify")
    assert done.exit_code == 1
    shown = done.stdout.splitlines()
    assert sorted(line.split()[0] for line in shown[:2]) == ["damaged", "missing"]
    assert shown[2] == "12 results checked: 1 damaged, 1 missing"


def test_problems_are_repaired_with_yes(kept: bs.Project) -> None:
    damage(kept)
    before = everything(Path())
    done = beautyspot("verify", "--fix")
    assert (done.exit_code, everything(Path()) == before) == (1, True)
    assert "add --yes" in done.stderr
    assert lines_of("verify", "--fix", "--yes")[-1] == "deleted 2"
    assert lines_of("verify", "--fix") == ["10 results checked: all whole"]


def _has_open(pid: int, name: str) -> bool:
    """Whether a process has a file of that name open."""
    try:
        return any(os.readlink(link).endswith(f"/{name}") for link in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:  # one of them was closed just then
        return False


def test_an_interrupted_check_says_where_to_continue() -> None:
    with bs.Project("p") as project:
        bs.map(project.task(version="1")(lambda n: n), range(20_000))
    for pause in (0.2, 0.1, 0.4, 0.05, 0.8, 0.02, 1.6):  # nobody knows how quick this machine is
        process = subprocess.Popen([BEAUTYSPOT, "verify"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        while process.poll() is None and not _has_open(process.pid, "p.db"):
            time.sleep(0.001)
        time.sleep(pause)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate()
        if found := re.search(r"--after (\d+)", told):
            break
    assert found is not None
    assert "Traceback" not in told
    (shown,) = lines_of("verify", "--after", found[1])
    assert int(shown.split()[0].replace(",", "")) == 20_000 - int(found[1])


# --- prune, clear, gc


@pytest.mark.parametrize("words", ["prune --function greet", "clear", "gc --grace 0", "prune --failed"])
def test_nothing_is_deleted_without_a_terminal_to_ask(kept: bs.Project, words: str) -> None:
    orphan()
    before = everything(Path())
    for more in ([], ["--dry-run"], ["--dry-run", "--yes"]):
        done = beautyspot(*words.split(), *more)
        assert done.exit_code == (0 if more else 1)
        assert re.match(r"[1-9]\d* (result|failure|blob)", done.stdout)  # the count stands first
        assert everything(Path()) == before


def orphan() -> Path:
    key = make_key(1).hex()
    path = Path("blobs", key[:2], f"{key}-00000000")
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"nobody's")
    os.utime(path, (PAST, PAST))
    return path


@pytest.mark.parametrize(
    ("words", "said", "left"),
    [
        ("prune --function greet", "deleted 9 results and 2 failures", (3, 0)),
        ("prune --expired", "deleted 1 result", (11, 2)),
        ("prune --failed --function job.greet", "deleted 2 failures", (12, 0)),
        ("prune --larger 1kB", "deleted 1 result", (11, 2)),
        ("prune --text 'name 3' --version 2", "deleted 1 result", (11, 2)),
        ("prune --older-than 0", "deleted 12 results and 2 failures", (0, 0)),
        ("prune --older-than 1h", "0 results, 0 B", (12, 2)),
        ("clear", "deleted 12 results and 2 failures", (0, 0)),
    ],
)
def test_the_selected_records_are_deleted(kept: bs.Project, words: str, said: str, left: tuple[int, int]) -> None:
    import shlex

    assert lines_of(*shlex.split(words), "--yes")[-1] == said
    catalog = kept.maintenance.catalog
    assert (catalog.count(Selection()), catalog.count(Selection("failed"))) == left
    assert len(list(kept.storage.blobs())) == len(list(kept.maintenance.selected(Selection(smallest=400))))


def test_prune_refuses_to_delete_everything(kept: bs.Project) -> None:
    done = beautyspot("prune", "--yes")
    assert done.exit_code == 2
    assert "at least one option" in done.stderr
    assert "by nothing else" in beautyspot("prune", "--failed", "--text", "x", "--yes").stderr
    assert len(rows_of("list")) == 12


def test_garbage_is_collected(kept: bs.Project) -> None:
    path = orphan()
    young = path.with_name(f"{path.name[:-1]}1")
    young.write_bytes(b"young")
    assert lines_of("gc", "--dry-run") == ["1 blob without a result, 8 B; 1 younger or in use stay"]
    assert lines_of("gc", "--yes")[-1] == "deleted 1 blob, 8 B"
    assert (path.exists(), young.exists()) == (False, True)
    assert lines_of("gc", "--grace", "0", "--compact", "--yes")[-1] == "deleted 1 blob, 5 B"


def test_gc_evicts_by_rules(kept: bs.Project) -> None:
    rules = ["--ttl", "job.draw=never", "--ttl", "job.*=1h"]
    assert lines_of("gc", "--dry-run", *rules) == [
        "1 result that expired, 1 B",
        "0 blobs without a result, 0 B",
    ]
    assert lines_of("gc", *rules, "--yes")[-1] == "deleted 1 result, and 0 blobs without a result, 1 B"
    assert len(rows_of("list")) == 11


def test_gc_evicts_by_bytes(kept: bs.Project) -> None:
    (shown, *_) = lines_of("gc", "--dry-run", "--max-bytes", "100")
    said = r"1 result that expired and [1-9] results over max_bytes, \d+ B; 2 results larger than that left"
    assert re.fullmatch(said, shown)
    lines_of("gc", "--max-bytes", "100", "--yes")
    left = [row["size"] for row in rows_of("list")]
    assert 50 < sum(size for size in left if size <= 100) <= 100
    assert len([size for size in left if size > 100]) == 2


@pytest.mark.parametrize("rule", ["30d", "=30d", "job.*="])
def test_an_invalid_rule_is_refused(kept: bs.Project, rule: str) -> None:
    done = beautyspot("gc", "--ttl", rule)
    assert (done.exit_code != 0, "Traceback" in done.output) == (True, False)
    assert "PATTERN=TIME" in done.stderr or "ttl of 'job.*' is a number" in done.stderr
    assert "max_bytes is a number of bytes" in beautyspot("gc", "--max-bytes", "much").stderr


# --- export


def test_a_table_is_written(kept: bs.Project) -> None:
    assert lines_of("export", "out.csv", "--function", "greet", "--no-values") == ["9 results written"]
    with open("out.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert (len(rows), rows[0]["input"], "value" in rows[0]) == (9, "name='name 8', times=1", False)
    done = beautyspot("export", "job.db", "-", "--format", "jsonl", "--text", "name 3")
    assert json.loads(done.stdout)["value"] == {"text": "Hello, name 3! "}
    assert done.stderr == "1 result written\n"


def test_a_file_that_is_no_table_is_refused(kept: bs.Project) -> None:
    for words in (["out.tar"], ["out.db", "--function", "greet"], ["-"]):
        done = beautyspot("export", *words)
        assert (done.exit_code, "A table is asked for" in done.stderr) == (2, True)
    assert not Path("out.tar").exists()


def test_an_import_takes_all_results(kept: bs.Project) -> None:
    assert lines_of("import", "newer.db", "job.db", "--storage-path", "newer") == ["11 moved, 1 expired"]


def test_a_file_that_cannot_be_written_is_one_line(kept: bs.Project) -> None:
    for words in (["export", "nowhere/out.csv"], ["show", key_of(), "--raw", "nowhere/x"]):
        done = beautyspot(*words)
        assert done.exit_code == 1
        assert re.fullmatch(r"Error: .*No such file or directory.*\n", done.stderr)


# --- on a terminal


@pytest.mark.parametrize(("answer", "left"), [("n\n", 12), ("\n", 12), ("y\n", 0)])
def test_a_terminal_is_asked_before_deleting(kept: bs.Project, answer: str, left: int) -> None:
    code, shown = on_terminal(BEAUTYSPOT, "clear", answer=answer)
    assert shown.startswith("12 results and 2 failures, ")
    assert "Delete 12 results and 2 failures? [y/N]" in shown
    assert code == (0 if answer == "y\n" else 1)
    assert len(rows_of("list")) == left


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_tables_fit_the_terminal(kept: bs.Project, columns: int) -> None:
    for command in ("list", "failures"):
        _, shown = on_terminal(BEAUTYSPOT, command, columns=columns)
        table = shown.splitlines()[:-1]
        assert max(map(len, table)) <= columns
        assert table[0].split()[:4] == ["key", "when", "function", "input"]
        assert all(re.match(r"[0-9a-f]{8}  ", line) for line in table[1:])
    assert "total" in on_terminal(BEAUTYSPOT, "stats", columns=columns)[1]


def test_long_work_shows_a_bar_on_a_terminal_alone(kept: bs.Project) -> None:
    assert "0/12" in on_terminal(BEAUTYSPOT, "verify")[1]
    done = subprocess.run([BEAUTYSPOT, "verify"], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("12 results checked: all whole\n", "")
