"""The index in an SQLite file.

`index` looks up and writes; `connections` are one a thread, `schema` has the tables, `catalog` lists, `last_used`
remembers when results were used, `file_locks` lock keys over processes.
"""
