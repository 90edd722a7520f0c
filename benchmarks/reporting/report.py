"""Tables in Markdown: a section for each scenario that was run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks import tenancy
from benchmarks.contenders import CONTENDERS
from benchmarks.reporting import citus, growth, plots, reading, runners, sharded, texts, waking
from benchmarks.reporting.fixtures import fixtures
from benchmarks.reporting.profile import profile
from benchmarks.reporting.summary import medians
from benchmarks.reporting.tables import milliseconds, ratio, table

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    Records = Sequence[dict[str, Any]]


def write(folder: Path, about: dict[str, Any], records: Records) -> None:
    """``README.md`` and its plots, in ``folder``."""
    parts = ["# Benchmarks", _about(about)]
    for scenario, section in _SECTIONS.items():
        chosen = [record for record in records if record["scenario"] == scenario]
        if chosen:
            drawn = plots.PLOTS[scenario](folder, chosen) if scenario in plots.PLOTS else []
            heading, _, rest = section(chosen).partition("\n\n")
            parts += [heading, *(f"![{name}]({name}.svg)" for name in drawn), rest]
    (folder / "README.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def _about(about: dict[str, Any]) -> str:
    machine = about["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    settings = ", ".join(f"`{name} = {value}`" for name, value in about["settings"].items())
    facts = {
        "Machine": f"{machine['cores']} cores ({machine['cpu']}), {machine['memory_gib']} GiB, "
        f"{machine['system']}, load {machine['load']} before; clients and server share it",
        "Versions": versions,
        "Commit": about["commit"],
        "Server": settings,
        "Scale": ", ".join(f"{name} {_joined(value)}" for name, value in about["scale"].items()),
    }
    return "\n".join(f"- {name}: {fact}" for name, fact in facts.items())


def operations(records: Records) -> str:
    """A table for each size and operation."""
    lines = medians(records, ("size", "operation", "callers"))
    parts = [texts.OPERATIONS.strip(), _glance(records)]
    for size, operation in dict.fromkeys((line["size"], line["operation"]) for line in lines):
        chosen = [line for line in lines if (line["size"], line["operation"]) == (size, operation)]
        parts.append(f"### {operation}, states of {size}\n\n{_operation(chosen)}")
    return "\n\n".join(parts)


def _glance(records: Records) -> str:
    """Our own lines for the smallest states, beside asyncpg's and what the server takes."""
    size = records[0]["size"]
    by = ("size", "operation", "callers")
    beside = {
        (line["operation"], line["callers"]): ratio(line.get("throughput_ratio"))
        for line in medians(records, by, base="server")
        if (line["size"], line["contender"]) == (size, "ours")
    }
    return table(
        ("", "callers", "instances/s", "x asyncpg", "p99 ms", "x asyncpg", "x PostgreSQL alone"),
        [
            (
                line["operation"],
                line["callers"],
                f"{line['throughput']:,.0f}",
                ratio(line.get("throughput_ratio")),
                *milliseconds(line, "p99"),
                ratio(line.get("p99_ratio")),
                beside[line["operation"], line["callers"]],
            )
            for line in medians(records, by)
            if (line["size"], line["contender"]) == (size, "ours")
        ],
    )


def _operation(lines: Records) -> str:
    return table(
        (
            "callers", "", "instances/s", "x asyncpg", "p50", "p99", "x asyncpg", "worst",
            "client CPU", "server CPU", "WAL",
        ),
        [
            (
                line["callers"],
                CONTENDERS[line["contender"]].title,
                f"{line['throughput']:,.0f}",
                ratio(line.get("throughput_ratio")),
                *milliseconds(line, "p50", "p99"),
                ratio(line.get("p99_ratio")),
                *milliseconds(line, "worst"),
                f"{line['client_cpu']:.3f}",
                f"{line['server_cpu']:.3f}",
                f"{line['wal']:,.0f}",
            )
            for line in lines
        ],
    )  # fmt: skip


def history(records: Records) -> str:
    """The cost of a put, with an explanation."""
    puts = [record for record in records if record["way"] == "put"]
    appends = {record["entries"]: record for record in records if record["way"] == "append"}
    first, last = puts[0], puts[-1]
    grown = last["entries"] - first["entries"]
    entry = (last["state_bytes"] - first["state_bytes"]) / max(1, grown)
    return "\n\n".join(
        (
            texts.HISTORY.strip(),
            table(
                (
                    "entries", "state, bytes", "p50", "p99", "client CPU", "server CPU", "WAL",
                    "append: p50", "server CPU", "WAL",
                ),
                [
                    (
                        f"{record['entries']:,}",
                        f"{record['state_bytes']:,}",
                        *milliseconds(record, "p50", "p99"),
                        f"{record['client_cpu']:.2f}",
                        f"{record['server_cpu']:.2f}",
                        f"{record['wal']:,.0f}",
                        *milliseconds(append, "p50"),
                        f"{append['server_cpu']:.2f}",
                        f"{append['wal']:,.0f}",
                    )
                    for record in puts
                    for append in (appends[record["entries"]],)
                ],
            ),
            texts.HISTORY_ACCOUNT.strip().format(
                entry=entry,
                half=entry / 2,
                thousand=entry / 2,
                ten_thousand=entry / 20,
            ),
        )
    )  # fmt: skip


def tenants(records: Records) -> str:
    """The cost of a tenant."""
    return "\n\n".join(
        (
            texts.TENANTS.strip(),
            table(
                (
                    "tenants", "", "", "instances/s", "x asyncpg", "p99", "x asyncpg",
                    "client CPU", "server CPU", "start", "MiB started", "MiB loaded", "MiB, server",
                ),
                [
                    (
                        f"{line['tenants']:,}",
                        line["operation"],
                        tenancy.CONTENDERS[line["contender"]][0],
                        f"{line['throughput']:,.0f}",
                        ratio(line["throughput_ratio"]),
                        *milliseconds(line, "p99"),
                        ratio(line["p99_ratio"]),
                        f"{line['client_cpu']:.3f}",
                        f"{line['server_cpu']:.3f}",
                        *milliseconds(line, "start_ms"),
                        f"{line['memory']:.1f}",
                        f"{line['memory_after']:.1f}",
                        f"{line['server_memory']:.1f}",
                    )
                    for line in medians(records, ("tenants", "operation"))
                ],
            ),
        )
    )  # fmt: skip


def profiles(records: Records) -> str:
    """The cost of the index over states."""
    return "\n\n".join(
        (
            texts.PROFILES.strip().format(puts=records[0]["puts"]),
            table(
                (
                    "", "puts/s", "p50", "p99", "p99.9", "worst", "WAL bytes a put",
                    "server CPU s/1000", "HOT", "MiB", "of it indexes",
                ),
                [
                    (
                        line["contender"],
                        f"{line['throughput']:,.0f}",
                        *milliseconds(line, "p50", "p99", "p99.9", "worst"),
                        f"{line['wal']:,.0f}",
                        f"{line['server_cpu']:.3f}",
                        f"{line['hot']:.0%}",
                        f"{line['size']:.1f}",
                        f"{line['indexes']:.1f}",
                    )
                    for line in medians(records, (), base="full")
                ],
            ),
        )
    )  # fmt: skip


_SECTIONS: dict[str, Callable[[Records], str]] = {
    "operations": operations,
    "reading": reading.reading,
    "large_states": reading.large_states,
    "profile": profile,
    "garbage": reading.garbage,
    "growth": growth.growth,
    "sharded": sharded.sharded,
    "history": history,
    "tenants": tenants,
    "profiles": profiles,
    "runners": runners.runners,
    "wake_ups": waking.wake_ups,
    "notifications": waking.notifications,
    "claim_shapes": runners.claim_shapes,
    "empty_claims": runners.empty_claims,
    "fixtures": fixtures,
    "citus": citus.citus,
}


def _joined(value: Any) -> str:
    return "/".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
