"""The prose around the tables, in Markdown."""

OPERATIONS = """
## Operations

Closed loop: each caller waits for its answer, then asks again. Each contender is one process with
one pool of ten connections, on a new database each round; they take turns in every cell. Figures
are medians over the rounds; the columns *x asyncpg* are medians of the ratios within a round, and
the steadier part. A call of `query` brings 50 instances as objects; one of `stream` a sixteenth of
the table, which is 128, 64 and 32 for the three sizes; `put_many` takes 32, or as many as a caller
has. CPU is seconds for a thousand instances, WAL bytes for one; p50, p99 and worst are milliseconds
of a call. PostgreSQL alone is pgbench, a client in C: what it does with many rows a statement is
what is left to reach. First hephaestus_pg itself, with the smallest states:
"""

GROWTH = """
## Growth

One caller; p50 / p99 in milliseconds against the rows in the table. Filters bring 50 rows, `id` and
`contains` one. There is no index by `updated_at`, for which every write would pay: filters by it
read all that the others let through. So do counts.
"""

GROWTH_RATES = """
Rows pruned a second, of a table of which one row in fifty goes; and `stream`, for half a minute at
the most, in a process of its own: its memory at the most, and how much of it came after the first
row.
"""

HISTORY = """
## History

One caller puts an instance whose history has so many entries: milliseconds of a put, CPU
milliseconds and bytes of WAL for one; beside it, an append within the server.
"""

HISTORY_ACCOUNT = """
**Where the quadratic cost lies.** A row holds the whole state, so every put encodes, sends, parses,
compresses, logs and stores all of the history again, and the index of the state looks at each value
in it. An entry takes about {entry:,.0f} bytes here, so a put with n entries costs a constant and
n times that, and a workflow that puts at each of its n entries has sent {half:,.0f} n² bytes in the
end: {thousand:,.0f} MB for a thousand entries, {ten_thousand:,.1f} GB for ten thousand.

**The best that one table allows** is to leave the client out: the columns *append* are an UPDATE
that is given one entry and adds it within the server. It spares the client encoding and sending,
and the server nothing: a jsonb value is immutable, so all of it is read, built, compressed, logged
and indexed again, and the caller no longer knows what the row holds. It is the same square. Only
entries in rows of their own would cost the same each, in a table that HephaestusEcto does not know.
With this one: keep in the history what is needed to go on, put once for several entries, and let a
workflow without an end go on as a new instance.
"""

TENANTS = """
## Tenants

A schema and a storage for each, all over one pool of ten connections; 64 callers, who go from one
tenant to the next with each call. Start is milliseconds a tenant; memory is what the client's
process has grown by once all are started, and after the load.
"""

PROFILES = """
## Index profiles

64 callers put states of 1 KB. HOT is the share of updates that touched no index; sizes are MiB
after {puts:,} puts to 8,192 instances, as autovacuum has left them.
"""
