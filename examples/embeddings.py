"""Embeddings of texts, in lists as an endpoint or a model takes them. Only new texts reach the model.

The model here is a stand-in that counts letters and sleeps for 10 ms a list; put your own into `embed`.
"""

import os
import tempfile
import time

import numpy as np

import beautyspot as bs

directory = tempfile.TemporaryDirectory(prefix="beautyspot-")
os.chdir(directory.name)  # a real script keeps its results where it runs
project = bs.Project("embeddings")
letters = "abcdefghijklmnopqrstuvwxyz"


@project.batch_task(size=32, version="letters-1")
def embed(texts: list[str], normalize: bool = True) -> list[np.ndarray]:
    print(f"  the model gets {len(texts)} texts")
    time.sleep(0.01)
    rows = np.array([[text.count(letter) for letter in letters] for text in texts], dtype=np.float32)
    return list(rows / np.linalg.norm(rows, axis=1, keepdims=True) if normalize else rows)


def nearest(question: str, texts: list[str]) -> str:
    scores = np.stack(embed(texts)) @ embed([question])[0]
    return texts[int(scores.argmax())]


notes = [f"note {n}: {word}" for n, word in enumerate(["walnut", "harbour", "violin", "glacier"] * 20)]

with project:
    print("first run:")
    vectors = embed(notes)
    print("one more note:")
    vectors = embed([*notes, "a note about a lighthouse"])
    print("a question:")
    print(" ", nearest("light house?", [*notes, "a note about a lighthouse"]))
    print("several lists at a time:")
    vectors = bs.map(embed, [f"{note}, revised" for note in notes], workers=3, progress=False)
    print("kept:", bs.plan(embed, notes))

directory.cleanup()
