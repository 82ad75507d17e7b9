"""Small helpers that know nothing of caching.

`context` says to which call the running code belongs, `fork_safety` what to do at a fork, `wakeups` wakes coroutines
from threads. `names` and `signatures` look at functions, `digests` hash, `registry` finds backends by name, `lazy`
loads names when they are first used, `pages` walks through rows. `warn` warns at the user's line; `units` reads sizes
and durations, `text` writes them.
"""
