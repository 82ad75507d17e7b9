"""The scheduler of a map decides; here a test carries out its instructions."""

import beautyspot as bs
from beautyspot.fanout.calls import Call, Outcome
from beautyspot.fanout.inputs import Inputs
from beautyspot.fanout.scheduler import Instruction, MapScheduler
from tests.support.marks import on_sqlite

pytestmark = on_sqlite


class OneWorker:
    """A pool whose one worker has a long queue, as that of threads has for quick calls."""

    def __init__(self) -> None:
        self.pending: list[Call] = []

    def has_capacity(self) -> bool:
        return True

    def submit(self, call: Call) -> None:
        self.pending.append(call)

    def has_pending(self) -> bool:
        return bool(self.pending)

    def wait(self) -> list[Outcome]:
        """The first call comes back: busy, if it is 0 and does not wait."""
        call = self.pending.pop(0)
        if call.own == ((0,), {}) and not call.waits:
            return [Outcome(call, key_busy=True)]
        return [Outcome(call, 2 * call.own[0][0])]

    def stop(self) -> None:
        self.pending.clear()

    def close(self, now: bool = False) -> None:
        pass


def test_a_call_that_waits_for_its_key_is_submitted_when_no_other_is_pending(project: bs.Project) -> None:
    pool = OneWorker()
    task = project.task(lambda x: 2 * x)
    scheduler = MapScheduler(Inputs(task, [range(6)]), lambda _: pool, progress=False, on_error="raise")
    results = {}
    for step in scheduler.instructions(block=6):
        if step is Instruction.READ:
            scheduler.read_block(6)
        elif step is Instruction.POLL_BUSY:
            assert not pool.pending
            scheduler.poll_busy()
        elif step is Instruction.WAIT:
            scheduler.on_finished(pool.wait())
        elif isinstance(step, tuple):
            results[step[0]] = step[1]
    scheduler.close()
    assert list(results) == [1, 2, 3, 4, 5, 0]
    assert results == {x: 2 * x for x in range(6)}
