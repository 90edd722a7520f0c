"""The instruments of one meter provider, which all storages that report to it share."""

from __future__ import annotations

from collections import Counter
from threading import Lock
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary, WeakSet

from opentelemetry.metrics import Observation

from hephaestus_pg.otel.naming import SCHEMA_URL
from hephaestus_pg.otel.reporter import Meters

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from opentelemetry.metrics import CallbackOptions, Meter, MeterProvider

    from hephaestus_pg.execution.shared_pool import SharedPool
    from hephaestus_pg.otel.executor import TracedExecutor
    from hephaestus_pg.otel.naming import Attributes

    Observe = Callable[[TracedExecutor], Iterable[Observation]]

_SECONDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0)


class Instruments(Meters):
    """The histograms that are recorded, and the counters and gauges of the storages that are open.

    A second instrument of the same name would not be observed: so there is one set of them for a
    provider, see :func:`instruments_of`.
    """

    def __init__(self, meter: Meter) -> None:
        self._executors: WeakSet[TracedExecutor] = WeakSet()
        self._lock = Lock()  # readers observe in threads of their own
        histogram = meter.create_histogram
        self.duration = histogram(
            "db.client.operation.duration",
            "s",
            "Duration of statements, waiting for a connection and retries included",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self.wait_time = histogram(
            "db.client.connection.wait_time",
            "s",
            "The time that statements and transactions waited for a connection of the pool",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self.use_time = histogram(
            "db.client.connection.use_time",
            "s",
            "The time that statements and transactions had a connection of the pool",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self.gathering = histogram(
            "hephaestus_pg.gathering.duration",
            "s",
            "The time that the oldest call of a statement had waited when it was sent",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self._observe_counters(meter)
        self._observe_pools(meter)

    def _observe_counters(self, meter: Meter) -> None:
        def counter(name: str, unit: str, description: str, observe: Observe) -> None:
            meter.create_observable_counter(
                name, [lambda _: self._of_each(observe)], unit, description
            )

        counter("hephaestus_pg.calls", "{call}", "Calls of verbs that have begun", _calls)
        counter("hephaestus_pg.errors", "{call}", "Calls of verbs that raised", _errors)
        counter("hephaestus_pg.batches", "{batch}", "Batches, by the calls in each", _batches)
        counter(
            "hephaestus_pg.retries",
            "{try}",
            "Tries of statements that followed a failed one",
            lambda each: _number(each, each.runner.retries),
        )
        counter(
            "hephaestus_pg.failed_tries",
            "{try}",
            "Tries of statements, and of beginning a transaction, that failed",
            lambda each: _number(each, each.runner.failed_tries),
        )
        counter(
            "hephaestus_pg.backends_terminated",
            "{process}",
            "Processes of the server that were ended, since a lost write might have gone on there",
            lambda each: _number(each, each.runner.backends_terminated),
        )
        counter(
            "hephaestus_pg.claims",
            "{instance}",
            "Instances that runners have claimed",
            lambda each: _number(each, each.runner.claims),
        )
        counter(
            "hephaestus_pg.wake_ups",
            "{notification}",
            "News from the server that something may have changed",
            lambda each: _number(each, each.wake_ups),
        )

    def _observe_pools(self, meter: Meter) -> None:
        meter.create_observable_up_down_counter(
            "db.client.connection.count",
            [self._connections],
            "{connection}",
            "Connections of the pool, by state",
        )
        meter.create_observable_up_down_counter(
            "db.client.connection.max",
            [self._max],
            "{connection}",
            "Connections that the pool may have",
        )
        meter.create_observable_up_down_counter(
            "db.client.connection.pending_requests",
            [self._pending],
            "{request}",
            "Statements and transactions that wait for a connection of the pool",
        )
        meter.create_observable_gauge(
            "hephaestus_pg.oldest_due.lag",
            [lambda _: self._of_each(_lags)],
            "s",
            "How long the oldest claimable instance of a workflow had waited at the last look",
        )

    def add(self, executor: TracedExecutor) -> None:
        """Observes a storage from now on, until it is closed."""
        with self._lock:
            self._executors.add(executor)

    def pool_name(self, shared: SharedPool, storage: str) -> str:
        """Returns the name of a pool, which is that of the first ``storage`` on it."""
        for each in self._open():
            if each.shared is shared:
                return each.reporter.pool_name
        return storage

    def _open(self) -> list[TracedExecutor]:
        """Those that are open in this process: after a fork they are the parent's."""
        with self._lock:
            executors = list(self._executors)
        return [each for each in executors if not each.lifecycle.closed]

    def _of_each(self, observe: Observe) -> Iterable[Observation]:
        for each in self._open():
            yield from observe(each)

    def _connections(self, _: CallbackOptions) -> Iterable[Observation]:
        pools = {each.reporter.pool_name: each.stats() for each in self._open()}
        for name, stats in pools.items():
            for state in ("idle", "used"):
                number = stats.connections_idle if state == "idle" else stats.connections_in_use
                attributes = {**_pool(name), "db.client.connection.state": state}
                yield Observation(number, attributes)

    def _max(self, _: CallbackOptions) -> Iterable[Observation]:
        pools = {each.reporter.pool_name: each.pool for each in self._open()}
        for name, pool in pools.items():
            yield Observation(pool.get_max_size(), _pool(name))

    def _pending(self, _: CallbackOptions) -> Iterable[Observation]:
        waiting: Counter[str] = Counter()
        for each in self._open():
            waiting[each.reporter.pool_name] += each.runner.waiting
        for name, number in waiting.items():
            yield Observation(number, _pool(name))


_instruments: WeakKeyDictionary[MeterProvider, Instruments] = WeakKeyDictionary()


def instruments_of(provider: MeterProvider) -> Instruments:
    """Returns the instruments of a meter provider: each time the same."""
    found = _instruments.get(provider)
    if found is None:
        found = _instruments[provider] = Instruments(
            provider.get_meter("hephaestus_pg", schema_url=SCHEMA_URL)
        )
    return found


def _pool(name: str) -> Attributes:
    return {"db.client.connection.pool.name": name}


def _of(executor: TracedExecutor, **own: str) -> Attributes:
    named = {f"hephaestus_pg.{name}": value for name, value in own.items()}
    return {"hephaestus_pg.storage": executor.lifecycle.name, **named}


def _number(executor: TracedExecutor, number: int) -> Iterable[Observation]:
    yield Observation(number, _of(executor))


def _calls(executor: TracedExecutor) -> Iterable[Observation]:
    for verb, number in list(executor.reporter.begun.items()):
        yield Observation(number, {**_of(executor), "db.operation.name": verb})


def _errors(executor: TracedExecutor) -> Iterable[Observation]:
    for (verb, kind), number in list(executor.reporter.failed.items()):
        attributes = {**_of(executor), "db.operation.name": verb, "error.type": kind}
        yield Observation(number, attributes)


def _batches(executor: TracedExecutor) -> Iterable[Observation]:
    """By powers of two: those of up to 8 calls, say, are the ones with more than 4."""
    batches: Counter[int] = Counter()
    for size, number in executor.stats().batch_sizes.items():
        batches[1 << (size - 1).bit_length()] += number
    for size, number in batches.items():
        yield Observation(number, {**_of(executor), "hephaestus_pg.batch.size": size})


def _lags(executor: TracedExecutor) -> Iterable[Observation]:
    for workflow, seconds in executor.backlog.ask().items():
        yield Observation(seconds, _of(executor, workflow=workflow))
