"""The index on a PostgreSQL server.

`index` looks up and writes; `connections` pools them, `statements` holds the SQL, `schema` has the tables, `catalog`
lists, `last_used` remembers when results were used, `advisory_locks` lock keys over machines.
"""
