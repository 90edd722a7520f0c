"""The prose around the tables, in Markdown."""

OPERATIONS = """
## Operations

Closed loop: each caller waits for its answer, then asks again. Each contender is one process with
one pool of ten connections, on a new database each round; they take turns in every cell. Figures
are medians over the rounds; the columns *x asyncpg* are medians of the ratios within a round, and
the steadier part. States of `1kb` have 1.3 KB and five entries in their history halfway through,
which is what reads find; `10kb` and `50kb` are about half history; `no-history`, `history-20` and
`history-200` differ from `1kb` in the history alone. A call of `query` brings 50 instances as
objects; one of `stream` a sixteenth of the table, which is 32 to 128; `put_many` takes 32, or as
many as a caller has. CPU is seconds for a thousand instances, WAL bytes for one; p50, p99 and worst
are milliseconds of a call. PostgreSQL alone is pgbench, a client in C: what it does with many rows
a statement is what is left to reach. First hephaestus_pg itself, with the first of these states:
"""

READING = """
## Reading many

Pages of 50 instances by status, in the order of their ids and from anywhere in a table of {rows:,}
rows, and 50 of them by their ids; asyncpg by hand reads each state with `orjson.loads`. Then gets
of 56 callers, without and with 8 more who read pages: what large answers do to the small ones. All
read the same table, by turns in each line. CPU is seconds for a thousand instances of the whole
process.
"""

LARGE_STATES = """
## Large states

One caller; milliseconds of a call, of the client's CPU in it, and the longest time in all calls of
a round for which the event loop stood still. `lines` are small values, about half of them entries
of a history (4,800 in 1 MB); `messages` are texts of about a kilobyte, with 20 entries. asyncpg
(its pool's reset off) writes with `orjson.dumps` and reads with `orjson.loads` within the call;
*x asyncpg* compares calls a second with it. The index over states is there, as it is by default.
"""

PROFILE = """
## Microseconds

What takes how long of a call (for `query`, of each of the 50 rows that one brings), states of
`1kb`. Every moment is charged to the layer that runs just then, so the lines add up to the time
that passed: a layer is left when it calls another, or waits. `orjson` is apart wherever it is
called. Where sending wakes the server, which then has this core for a while, that is waiting.
asyncpg, its pool's reset off, is given states that are encoded already, and makes no instances.
With 64 callers it is what each 64 calls took, divided by 64.

Calls are sorted by their time, and of the middle half the mean is taken; of the rounds, that with
the median of all is shown, whole. The client's own is all but the waiting. Counting is not free,
and costs most where a layer has many steps: below, the same without it.
"""

GARBAGE = """
## Garbage collection

64 callers. What a process holds from its beginning can be left out of collections, by
`gc.freeze()`, as it is in all figures here; and collections can be fewer, by a threshold.
"""

GROWTH = """
## Growth

A table as a service keeps it: ids with a UUID, forty workflows, all finished but the newest
hundredth; states of 1.3 KB. The load is how many processes ran or waited for a core when that size
was begun. One caller; p50 / p99 in milliseconds against the rows in the table. Filters bring 50
rows, by id unless it says otherwise, `query: id` and `contains` one. *few* are the instances that
wait, a four-hundredth, *some* those that have failed, a two-hundredth, *most* those completed.
There is no index by `updated_at`, for which every write would pay: filters by it read all that the
others let through. So do counts.
"""

GROWTH_BYTES = """
### Bytes

Bytes a row, right after the rows were inserted and the indexes built.
"""

GROWTH_WAL = """
### WAL

Instances that 64 callers write a second: bytes of WAL for each, its changes + the images of whole
pages, one of each page that is changed for the first time after a checkpoint (`full_page_writes`;
without compression unless the settings say so). The checkpoint was just before, so there are as
many images as there can be. What the index over states puts off is included. Orders are inserted,
updated twice, finished and deleted; active ones are put.
"""

GROWTH_CLAIMS = """
### Claims

Instances that one and 64 workers claim and finish, a second: p50 / p99 of both together, in
milliseconds. 10,000 can be claimed (a fifth of a smaller table), of one workflow.
"""

GROWTH_UPKEEP = """
### Prunes and vacuum

A hundredth of the rows, the oldest, is pruned; then one row in twenty, the newest, is updated in
one statement, and a vacuum removes what both have left. It does not pause, as autovacuum would:
below, for how long that would by default (2 ms for each 200 of the costs of pages). Autovacuum
itself is off. WAL as above, MiB of it for a vacuum. *freeze* is a vacuum that freezes all rows.
"""

GROWTH_BUILDS = """
### Indexes, dumps, and stream

Each index was built on the full table, by `CREATE INDEX`; the table is dumped by
`pg_dump --format=custom`, without the index over states, and restored by `pg_restore`. `stream`,
for half a minute at the most, in a process of its own: its memory at the most, and how much of it
came after the first row.
"""

SHARDED = """
## Shards

The table of *Growth*, without the index over states, in eight shards by id on a Citus cluster
(coordinator, {workers} workers, all on this machine; {version}; `fsync = {fsync}`,
`shared_buffers = {shared_buffers}`), and as one table on its coordinator. p50 / p99 in
milliseconds; with 64 callers before that instances a second. Trust the ratios: three servers share
what one has for itself, and nothing waits for a network or a disk. WAL is that of all three, for
each instance but in the vacuum: changes + images of whole pages, at the most. 64 callers wrote
them; a hundredth was pruned; the vacuum came after one row in twenty was updated.
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

A schema for each, all over one pool of ten connections; 64 callers, who go to a tenant at random
with each call. hephaestus_pg has a storage for each, on the pool of the first (`share=`); asyncpg
has the schema in the text of each statement, and the statements that a connection keeps by default,
100, or 1,000. Each is a process of its own, and they take turns. CPU is milliseconds a call, start
milliseconds a tenant. Memory is what the process has grown by once all are started, and after the
load, and what the server's processes behind its connections have for themselves.
"""

PROFILES = """
## Index profiles

64 callers put states of `1kb`. HOT is the share of updates that touched no index; sizes are MiB
after {puts:,} puts to 8,192 instances, as autovacuum has left them.
"""

RUNNERS = """
## Runners

Orders of 1 KB that wait are claimed, written once by a worker, and finished: by 64 workers in one
process, or in each of four. All bring the order to its worker. hephaestus_pg writes it, and is
done with that; a queue's worker updates it in a table beside the queue, with no index but its key;
DBOS checkpoints a step that returns it. PgQueuer has `autovac` applied, `batch_size=32` and
`max_concurrent_tasks=64`, a connection of its own for its manager, and uvloop, as its command has;
Procrastinate has `concurrency=64`; DBOS asks each second and takes all that there is, which is its
default, or asks each 10 ms for what is missing to 64. They take turns, each on a new database,
where finished orders are counted. Statements (BEGIN and COMMIT too, by pg_stat_statements) and
bytes of WAL are those of one order, CPU is seconds for a thousand; *x PgQueuer* is the median of
the ratios within a round.
"""

WAKE_UPS = """
## Waking up

From sending an insert to the start of work on it, in milliseconds, with nothing else to do: orders
come 5 to 25 ms apart, first from the process that works, then from another, and seldom, 25 to 75 ms
apart. PgQueuer and Procrastinate notify with each insert; hephaestus_pg does at most each 20 ms, so
an order that follows another sooner waits for that; DBOS asks.

Then two more processes write, 5,000 times a second together, what is no work for the one that
works: 64 callers in each of them, one or 50 with a call. *Other writes/s* is what they reached.
They write in the table from which the work comes, and that notifies as it does by itself.
hephaestus_pg puts and updates instances of another workflow in turns, or puts 50; its listener
hears of all of them. A queue has no writes but its inserts, of jobs for another entrypoint
(PgQueuer) or another queue (Procrastinate, whose worker hears of its own queue alone, and DBOS, 50
in a transaction). They are left there, as jobs that wait for a worker of their own.
"""

NOTIFICATIONS = """
## What notifications cost

The whole server first: pgbench commits `put` for 32 processes, one row in a commit, each with
orders of its own. While somebody listens, 32 more connections notify for these processes, each 50
times a second at the most, as a process does however much it writes, in transactions of their own.
At the end, for comparison, what is not done here: a trigger notifies in each commit. Listening
connections are told everything, and do nothing with it. They take turns within a round; *x nobody*
is the median of the ratios within a round, CPU is the server's seconds for a thousand commits.
"""

NOTIFIED_WRITES = """
Then one process that writes, as in the tables of operations, without a listener and with one, in
short turns. *x nobody* is the median of the ratios within these pairs; CPU is the steadier figure.
"""

CLAIM_SHAPES = """
## The shape of a claim

One connection claims 50 of the oldest 200 of three workflows, by `claim.sql`, which reads the
beginning of an index for each of them, and by one scan in the order of when instances are due,
which a table distributed by Citus could run. {rows:,} instances can be claimed; as many are owned,
as many wait, as many are of another workflow, and a hundredth of that is exhausted. First with the
indexes that there are, then with one more that is made for one scan, then with the other
workflow's instances older than all. p50 is milliseconds of a claim.
"""

EMPTY_CLAIMS = """
## Empty claims

Eight processes claim 2,000 instances, 50 at a time, until all are owned: each reaches for the
first 50, or for 50 at random of the first 200, which is what a runner does that is not alone.
"""

FIXTURES = """
## Fixtures

A suite of {tests} tests of each kind, run by pytest, on an embedded server without fsync, one for
each process of pytest-xdist: how many milliseconds it took to set up, call and tear down a test,
beyond the {without:.2f} of one that does nothing and has no fixture. The first test of each
process, which starts the server, is left out. *truncate* starts a storage in a fixture of one's own
and empties the tables, and *create database from template* starts it on a database of its own.
"""

CITUS = """
## On Citus

A cluster of a coordinator and two workers, all on this machine, without `fsync`: not the server
above, but Citus 13.2 on PostgreSQL 15. The plain table is on its coordinator too.
*x batching=False* is the median of the ratios within a round to one statement a call, *x plain* to
the plain table's gathered calls. Tenants are 20 schemas over one pool, which Citus spreads over
both workers.
"""
