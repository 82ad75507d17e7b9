"""Small helpers that know nothing of caching.

`context` has the context variables of the running call, `fork_safety` the hooks at forks, `wakeups` wakes coroutines
from threads. `names` and `signatures` inspect functions, `pricing` knows those that are limited, `local_classes` the
classes inside functions. `digests` hashes, `registry` finds backends by name, `lazy` loads names when they are first
used, `pages` walks through rows. `warn` warns at the user's line and logs; `units` parses sizes and durations, `text`
formats them.
"""
