"""Two hundred calls to a service that answers 429 when its budget is exceeded, in threads and as fast as it allows.

The service here is a small HTTP server on this machine. It counts tokens as providers do: in a bucket that holds the
tokens of one second and fills at the allowed rate. Put your own call into `complete`.
"""

import json
import os
import tempfile
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import beautyspot as bs

TPM = 240_000
refused = 0


class Provider(BaseHTTPRequestHandler):
    """Answers prompts, or 429 if requests come too fast."""

    lock = threading.Lock()
    level, last = TPM / 60, time.monotonic()

    def do_POST(self) -> None:
        global refused
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with Provider.lock:
            now = time.monotonic()
            Provider.level = min(TPM / 60, Provider.level + (now - Provider.last) * TPM / 60)
            Provider.last = now
            is_refused = Provider.level < asked["tokens"]
            refused += is_refused
            if not is_refused:
                Provider.level -= asked["tokens"]
        body = json.dumps({"text": asked["prompt"].upper(), "usage": asked["tokens"]}).encode()
        self.send_response(429 if is_refused else 200)
        if is_refused:
            self.send_header("Retry-After", "1")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


server = ThreadingHTTPServer(("127.0.0.1", 0), Provider)
threading.Thread(target=server.serve_forever, daemon=True).start()
directory = tempfile.TemporaryDirectory(prefix="beautyspot-")
os.chdir(directory.name)  # a real script keeps its results where it runs
project = bs.Project("rate_limited", tpm=TPM)


def tokens_of(prompt: str) -> int:
    return 10 + 2 * len(prompt)


@project.task
@project.limiter(cost=tokens_of, settle=lambda answer: answer["usage"])
def complete(prompt: str) -> dict[str, object]:
    body = json.dumps({"prompt": prompt, "tokens": tokens_of(prompt)}).encode()
    with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}", body) as answer:
        return json.load(answer)


prompts = [f"prompt {n}: " + "x" * (n * 37 % 90) for n in range(200)]

with project:
    total = sum(map(tokens_of, prompts))
    best = (total - tokens_of(prompts[-1])) / (TPM / 60)  # the last call need not wait for its own cost
    started = time.monotonic()
    answers = bs.map(complete, prompts, workers=16, progress=False)
    took = time.monotonic() - started
    print(f"{len(answers)} answers, {total:,} tokens: {took:.2f} s, {took / best - 1:+.1%} of the best, {best:.2f} s")
    print("refused with 429:", refused)
    again = time.monotonic()
    bs.map(complete, prompts, workers=16, progress=False)
    print(f"a second time: {time.monotonic() - again:.2f} s, and no token is used")

assert refused == 0
server.shutdown()
server.server_close()
directory.cleanup()
