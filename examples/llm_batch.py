"""Many calls to a service that sometimes fails. Successful results are cached; a second run makes only the other calls.

The service here is a stand-in that sleeps for 10 ms; put your own call into `ask`.
"""

import os
import tempfile
import time

import beautyspot as bs

directory = tempfile.TemporaryDirectory(prefix="beautyspot-")
os.chdir(directory.name)  # a real script keeps its results where it runs
project = bs.Project("llm_batch")
outage = True  # the service fails in the first run


class ServiceError(Exception):
    """The error of the service during an outage."""


@project.task(version="prompt-1", content_type=bs.ContentType.MARKDOWN, ttl="30d")
def ask(question: str, model: str = "small") -> dict[str, object]:
    time.sleep(0.01)
    if outage and question.endswith(("7?", "9?")):
        raise ServiceError("503: try again later")
    return {"answer": f"**{model}** says: {len(question)}", "tokens": len(question) // 4}


questions = [f"What is the square of {n}?" for n in range(200)]

with project:
    print("before:      ", bs.plan(ask, questions))
    try:
        bs.map(ask, questions, workers=16, on_error="continue")
    except bs.MapError as error:
        print("first run:   ", error.message)
        print("one of them: ", *next(iter(error.inputs.values())))
    print("between:     ", bs.plan(ask, questions))

    outage = False
    answers = ask.map(questions, workers=16)
    print("second run:  ", sum(int(str(answer["tokens"])) for answer in answers), "tokens in", len(answers), "answers")
    print("after:       ", bs.plan(ask, questions))
    print("explained:   ", ask.explain(questions[7], model="large"))

directory.cleanup()
