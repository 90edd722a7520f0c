"""Spans and metrics of storages, by OpenTelemetry's conventions for databases.

It reports names, times and numbers, and no value of a call: no id, no state, no parameter. Nothing
else in the package knows OpenTelemetry. It needs the extra ``otel``.
"""

try:
    from hephaestus_pg.otel.telemetry import OpenTelemetry
except ModuleNotFoundError as error:
    raise ImportError(
        f"{error.name} is not installed, which telemetry needs; run: "
        "pip install 'hephaestus_pg[otel]'"
    ) from error

__all__ = ["OpenTelemetry"]
