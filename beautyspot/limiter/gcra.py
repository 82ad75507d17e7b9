"""The arithmetic of GCRA: the debt of a budget, and how admitting a call changes it. Pure.

The generic cell rate algorithm (ITU-T I.371, as a virtual scheduler) stores one number for each budget: when
it will be paid off. Here it is stored as a debt in seconds and the time at which that was true, which is the
same but loses no precision: a debt is a small number, and a time of day with a fraction of a microsecond
does not fit into a float. Nor does a clock that is set back change anything.

A call pays afterwards: it begins once nothing is owed, and its own cost is owed then, which delays the next
one. So a large call is admitted as soon as a small one, and in any window of W seconds at most
``rate · (W + tolerance) + the largest call`` is admitted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableMapping, Sequence

SLACK = 0.010  # seconds by which a sleeper may wake up late without the rate suffering
STEP = 1.0  # seconds; a clock that is further back than this was set back


# What a call requests of one budget: its key, the seconds in which one token is earned, the seconds of budget that an
# idle budget may save, and the tokens that the call costs. A plain tuple, since every call makes one.
Request = tuple[str, float, float, float]

# A budget in a store: the seconds that it owed (negative if some are saved), when that was by the store's clock, the
# seconds from then during which no call may begin whatever is owed, and the tolerance of the last request, after which
# the state means no more than a missing one.
State = tuple[float, float, float, float]


def aged(state: State | None, now: float) -> tuple[float, float]:
    """The debt of *state*, and for how long it is deferred, *now*: both in seconds.

    Time by which a clock was set back does not count, and adds nothing to the debt.
    """
    if state is None:
        return float("-inf"), 0.0
    debt, last, held, _ = state
    elapsed = now - last
    if elapsed <= 0:
        return debt, held
    return debt - elapsed, held - elapsed if held > elapsed else 0.0


def admit(
    requests: Sequence[Request], states: MutableMapping[str, State], now: float, max_wait: float
) -> tuple[bool, float]:
    """Charge a call to all of its budgets, or to none.

    Args:
        requests: A request for each budget.
        states: The states of budgets, as far as they exist; those of the call are replaced if it is charged.
        now: Seconds of the store's clock.
        max_wait: Seconds that the call waits at most.

    Returns:
        Whether the call was charged, and after how many seconds it begins, or would have begun.
    """
    if len(requests) == 1:  # the common case, with nothing to compare
        ((key, emission, tolerance, cost),) = requests
        owed, held, last = -tolerance, 0.0, now
        state = states.get(key)
        if state is not None:
            owed, held = aged(state, now)
            if state[1] > now:
                last = _time(state, now)
            if owed > max_wait:
                return False, owed
            owed = max(owed, -tolerance)
        states[key] = (owed + cost * emission, last, held, tolerance)
        return True, owed if owed > 0 else 0.0
    levels = []
    wait = 0.0
    for key, _, _, _ in requests:
        state = states.get(key)
        owed, held = aged(state, now)
        levels.append((owed, held, _time(state, now)))
        wait = max(wait, owed)
    if wait > max_wait:
        return False, wait
    changed: dict[str, State] = {}
    for (key, emission, tolerance, cost), (owed, held, last) in zip(requests, levels, strict=True):
        # Budget is saved until the call begins, and no longer.
        saved = wait - tolerance
        changed[key] = ((owed if owed > saved else saved) + cost * emission, last, held, tolerance)
    states.update(changed)
    return True, wait


def shifted(state: State | None, now: float, seconds: float) -> State:
    """The state that owes *seconds* more, or less; a deferred budget stays deferred."""
    owed, held = aged(state, now)
    tolerance = 0.0 if state is None else state[3]
    return max(max(owed, -tolerance) + seconds, held), _time(state, now), held, tolerance


def deferred(state: State | None, now: float, seconds: float) -> State:
    """The state in which no call begins before *seconds* have passed."""
    owed, held = aged(state, now)
    held = max(held, seconds)
    tolerance = 0.0 if state is None else state[3]
    return max(owed, held), _time(state, now), held, tolerance


def paid_off(states: Mapping[str, State], now: float) -> Iterable[str]:
    """Keys of the states that mean no more than missing ones."""
    return [key for key, state in states.items() if aged(state, now)[0] <= -state[3]]


def _time(state: State | None, now: float) -> float:
    """The time to write into a state: the clocks of two processes may differ a little."""
    return state[1] if state is not None and now < state[1] <= now + STEP else now
