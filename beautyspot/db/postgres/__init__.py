"""The index on a PostgreSQL server.

`index` looks up and writes; `connections` has the pool, `statements` the SQL, `schema` the tables, `catalog`
answers viewers, `last_used` stores when results were used, `advisory_locks` lock keys across machines.
"""
