"""Spans by OpenTelemetry, sent by OTLP over HTTP. Invariant: a collector that is slow or gone holds up no request.

Spans wait in a bounded queue and are sent by a thread; what does not fit is dropped. How many are taken is the
library's own business: OTEL_TRACES_SAMPLER and OTEL_TRACES_SAMPLER_ARG. This module is imported only where
`trace_endpoint` is set.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from satchel.server.spans import Headers, Span, use

EXPORT_TIMEOUT_S = 3
QUEUE_MAX = 4_096
CARRIED = ("traceparent", "tracestate")
CARRIED_BYTES_MAX = 1_024


class _Seen:
    """A span of the library's behind ours."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw

    def note(self, name: str = "", *, failed: bool = False, **attributes: str | int) -> None:
        """See Span."""
        if name:
            self._raw.update_name(name)
        if failed:
            self._raw.set_status(StatusCode.ERROR)
        for key, value in attributes.items():
            self._raw.set_attribute(key.replace("__", "."), value)


@contextlib.asynccontextmanager
async def traced(endpoint: str, *, version: str, server_id: str) -> AsyncIterator[None]:
    """Have every step sent to `endpoint` (`http://HOST:4318/v1/traces`) while the block runs."""
    about = {"service.name": "satchel", "service.version": version, "service.instance.id": server_id}
    provider = TracerProvider(resource=Resource.create(about), shutdown_on_exit=False)
    exporter = OTLPSpanExporter(endpoint=endpoint, timeout=EXPORT_TIMEOUT_S)
    provider.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=QUEUE_MAX))
    tracer = provider.get_tracer("satchel", version)
    carrying = TraceContextTextMapPropagator()

    @contextlib.contextmanager
    def begin(name: str, headers: Headers | None) -> Iterator[Span]:
        before = carrying.extract(_carried(headers)) if headers is not None else None
        kind = SpanKind.INTERNAL if headers is None else SpanKind.SERVER
        with tracer.start_as_current_span(
            name, context=before, kind=kind, record_exception=False, set_status_on_exception=False
        ) as raw:
            seen = _Seen(raw)
            try:
                yield seen
            except Exception:
                seen.note(failed=True)
                raise

    use(begin)
    try:
        yield
    finally:
        use(None)
        # Sends what waits; the library's own deadline bounds it.
        await asyncio.to_thread(provider.shutdown)


def _carried(headers: Headers) -> dict[str, str]:
    named = ((name.decode("latin-1"), value) for name, value in headers if len(value) <= CARRIED_BYTES_MAX)
    return {name: value.decode("latin-1") for name, value in named if name in CARRIED}
