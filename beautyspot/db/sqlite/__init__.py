"""The index in an SQLite file.

`index` looks up and writes; `connections` opens one connection for each thread, `schema` has the tables, `catalog`
answers viewers, `last_used` stores when results were used, `file_locks` lock keys across processes.
"""
