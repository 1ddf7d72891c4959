"""Traces and metrics for an OpenTelemetry collector, where they are asked for."""

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import dedup
from dedup.errors import InputError

if TYPE_CHECKING:
    from fastapi.telemetry import TelemetryConfig

# What others ask every few seconds.
_UNTOLD: Final = ("/livez", "/readyz", "/metrics")

# Otherwise the framework takes up whatever other libraries set up.
OFF: "TelemetryConfig" = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "operation_spans": False,
}


def set_up_telemetry(is_on: bool) -> "tuple[TelemetryConfig, Callable[[], None]]":
    """Return what the framework is to send, and what sends the rest of it at the end.

    Where the collector is, OTEL_* variables say.

    Raises
    ------
    InputError
        When the extra is not installed.
    """
    if not is_on:
        return OFF, lambda: None
    try:
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        reason = "needs the extra 'telemetry': pip install 'dedup[telemetry]'"
        raise InputError("telemetry", reason) from None
    named = {"service.version": dedup.__version__}
    told = os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    if "OTEL_SERVICE_NAME" not in os.environ and "service.name=" not in told:
        named["service.name"] = "dedup"
    resource = Resource.create(named)
    tracer = TracerProvider(resource=resource)
    tracer.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    meter = MeterProvider([PeriodicExportingMetricReader(OTLPMetricExporter())], resource)
    config: TelemetryConfig = {
        "tracer_provider": tracer,
        "meter_provider": meter,
        "tracing": True,
        "metrics": True,
        "logs": False,
        "operation_spans": False,
        "exclude": lambda scope: scope.get("path") in _UNTOLD,
    }

    def stop() -> None:
        tracer.shutdown()
        meter.shutdown()

    return config, stop
