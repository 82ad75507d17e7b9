"""A clock whose time is simulated, and what simulated clients stand in line for."""

import heapq
import itertools
from collections import deque
from collections.abc import Callable, Generator

Resume = Callable[[], None]
Request = Callable[[Resume], None]  # what a client yields: told what to do once it is granted
Client = Generator[Request, None, None]


class Clock:
    """Time, in seconds, and what happens when."""

    def __init__(self) -> None:
        self.now = 0.0
        self._due: list[tuple[float, int, Resume]] = []
        self._number = itertools.count()

    def at(self, seconds: float, happens: Resume) -> None:
        """Let something happen in so many seconds."""
        heapq.heappush(self._due, (self.now + seconds, next(self._number), happens))

    def passing(self, seconds: float) -> Request:
        """The request of a client that waits for so long."""
        return lambda resume: self.at(seconds, resume)

    def start(self, client: Client) -> None:
        """Let *client* do what it does, one request after the other."""

        def resume() -> None:
            for request in client:
                request(resume)
                return

        resume()

    def run(self, seconds: float) -> None:
        """Let so much time pass."""
        end = self.now + seconds
        while self._due and self._due[0][0] <= end:
            self.now, _, happens = heapq.heappop(self._due)
            happens()
        self.now = end


class Line:
    """Servers that are all alike, and one line before them: cores, or the connections of a pool.

    Args:
        clock: Whose time it takes.
        servers: How many are served at a time.
    """

    def __init__(self, clock: Clock, servers: int) -> None:
        self._clock = clock
        self._free = servers
        self._waiting: deque[Resume] = deque()
        self.busy = 0.0  # seconds, of all servers together

    def take(self) -> Request:
        """The request for a server, which is to be given back."""

        def request(resume: Resume) -> None:
            if self._free:
                self._free -= 1
                resume()
            else:
                self._waiting.append(resume)

        return request

    def give(self) -> None:
        """Give a server back: to the next in line."""
        if self._waiting:
            self._clock.at(0.0, self._waiting.popleft())
        else:
            self._free += 1

    def serving(self, seconds: float) -> Request:
        """The request to be served for so long."""

        def request(resume: Resume) -> None:
            def served() -> None:
                self.busy += seconds
                self.give()
                resume()

            self.take()(lambda: self._clock.at(seconds, served))

        return request


class Journal:
    """A log that is written by one at a time, for all who wait: a group commit.

    Args:
        clock: Whose time it takes.
        seconds: That the disk takes.
    """

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock = clock
        self._seconds = seconds
        self._waiting: list[Resume] = []
        self._writing = False

    def written(self) -> Request:
        """The request that all until now is on disk."""

        def request(resume: Resume) -> None:
            self._waiting.append(resume)
            if not self._writing:
                self._write()

        return request

    def _write(self) -> None:
        waiting, self._waiting = self._waiting, []
        self._writing = True

        def done() -> None:
            self._writing = False
            if self._waiting:
                self._write()
            for resume in waiting:
                resume()

        self._clock.at(self._seconds, done)
