"""A large payload is shared in memory; a worker that cannot open it says so."""

import pickle
from typing import Any

import numpy as np
import pytest

import beautyspot as bs
from beautyspot.fanout.transport import PayloadUnreachable, opened
from beautyspot.fanout.wire import MissingPayload, pack_chunk, pack_task, unpack_replies
from beautyspot.fanout.worker import run_chunk
from tests.support.marks import on_sqlite


@on_sqlite
@pytest.mark.parametrize(("size", "inline"), [(10, False), (1_000_000, False), (1_000_000, True)])
def test_a_payload_arrives_as_it_was_sent(project: bs.Project, size: int, inline: bool) -> None:
    @project.task
    def ask(table: Any, x: int) -> float:
        return float(table[x])

    table = np.arange(size, dtype=float)
    payload = pack_task(ask, ((table,), {}), inline)
    assert (len(payload.message) > 8 * size) == (inline or size == 10)
    arrived = opened(payload.message)[1][0][0]
    assert (arrived == table).all()
    arrived[0] = -1  # a change of its own
    assert table[0] == 0
    payload.close()


@on_sqlite
def test_a_worker_that_cannot_open_a_payload_asks_for_it(project: bs.Project) -> None:
    @project.task
    def ask(table: Any, x: int) -> float:
        return float(table[x])

    payload = pack_task(ask, ((np.zeros(1_000_000),), {}))
    payload.close()
    with pytest.raises(PayloadUnreachable):
        opened(payload.message)
    reply = unpack_replies(run_chunk(payload.message, pack_chunk([], stop=True)))
    assert isinstance(reply, MissingPayload)
    assert "No such file" in reply.reason
    assert pickle.loads(payload.message[1:])[0].startswith("/proc/")
