"""Keys are part of the format: those of some hundred calls are known, and never change by themselves."""

import json

from tests.keys.known_calls import FILE, keys

KNOWN: dict[str, str] = json.loads(FILE.read_text())


def test_the_keys_of_known_calls_are_those_that_were_written_down() -> None:
    assert keys() == KNOWN


def test_known_calls_differ() -> None:
    assert len(set(KNOWN.values())) == len(KNOWN) > 100
