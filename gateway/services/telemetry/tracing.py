"""Traces for OpenTelemetry. Spans are made from the record of a finished request, so that no
request waits for them, and are sent by a thread of their own.

Imported only if traces are wanted: the library is an extra, and takes time to load.
"""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from time import monotonic

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from gateway import __version__
from gateway.domain.keys.record import well_formed
from gateway.domain.traffic import Handled, Trace
from gateway.log import Seldom, log

SERVICE = "agent-credential-gateway"
END_SECONDS = 5.0
WARN_INTERVAL = 60.0
SAMPLED, DROPPED = "01", "00"


class _GivenIds(RandomIdGenerator):
    """Returns the ids that the agent was told already; ids of other spans are random."""

    trace_id = span_id = 0

    def generate_trace_id(self) -> int:
        return self.trace_id

    def generate_span_id(self) -> int:
        given, self.span_id = self.span_id, 0
        return given or super().generate_span_id()


class _FailureLog(SpanExporter):
    """Logs once a minute if spans are not sent. The library's own messages would hold the endpoint,
    which may contain secrets."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._lately_lost = Seldom(monotonic, WARN_INTERVAL)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        if result is not SpanExportResult.SUCCESS and (lost := self._lately_lost.due(len(spans))):
            log.warning("traces_not_sent", spans=lost)
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()


class Tracing:
    """Settings, including the sampler, are the library's own, from the environment (`OTEL_*`)."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._ids = _GivenIds()
        self._provider = TracerProvider(
            resource=_resource(), id_generator=self._ids, shutdown_on_exit=False
        )
        self._provider.add_span_processor(BatchSpanProcessor(_FailureLog(exporter)))
        self._tracer = self._provider.get_tracer("gateway", __version__)

    def flags(self, trace_id: str) -> str:
        """Return the flags of a trace that begins here: the agent samples what the gateway does."""
        verdict = self._provider.sampler.should_sample(None, int(trace_id, 16), "")
        return SAMPLED if verdict.decision is Decision.RECORD_AND_SAMPLE else DROPPED

    def count(self, batch: Sequence[Handled]) -> None:
        """Read a batch of the journal."""
        for handled in batch:
            if handled.trace is not None:
                self._record(handled, handled.trace)

    def _record(self, handled: Handled, trace: Trace) -> None:
        began = handled.at - handled.total
        admitted = began if handled.admission is None else began + handled.admission
        self._ids.trace_id = int(trace.trace_id, 16)
        place = _place(handled.agent)
        span = self._tracer.start_span(
            f"{handled.method} {place}".rstrip(),
            _parent(trace),
            SpanKind.SERVER,
            _attributes(handled, place),
            start_time=_nanoseconds(began),
        )
        if handled.status >= 500 or handled.cut:
            span.set_status(Status(StatusCode.ERROR, handled.code or None))
        within = set_span_in_context(span)
        if handled.admission is not None:
            self._child("admission", within, began, admitted)
        if handled.first_byte is not None or handled.code.startswith("upstream"):
            self._ids.span_id = int(trace.span_id, 16)
            self._child("upstream", within, admitted, handled.at, SpanKind.CLIENT)
            self._ids.span_id = 0
        span.end(_nanoseconds(handled.at))

    def _child(
        self,
        name: str,
        within: Context,
        began: float,
        ended: float,
        kind: SpanKind = SpanKind.INTERNAL,
    ) -> None:
        span = self._tracer.start_span(name, within, kind, start_time=_nanoseconds(began))
        span.end(_nanoseconds(ended))

    async def close(self) -> None:
        """Send what waits, if that is quick: a receiver that is away must not delay the end."""
        loop, ended = asyncio.get_running_loop(), asyncio.Event()

        def end() -> None:
            self._provider.shutdown()
            # The loop may be closed by then.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(ended.set)

        threading.Thread(target=end, name="traces-end", daemon=True).start()
        with suppress(TimeoutError):
            await asyncio.wait_for(ended.wait(), END_SECONDS)


@asynccontextmanager
async def open_tracing() -> AsyncIterator[Tracing]:
    """Yield tracing to the endpoint that the environment names."""
    # It logs what its receiver replied.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    tracing = Tracing(OTLPSpanExporter())
    try:
        yield tracing
    finally:
        await tracing.close()


def _resource() -> Resource:
    made = Resource.create().merge(Resource({SERVICE_VERSION: __version__}))
    if str(made.attributes[SERVICE_NAME]).startswith("unknown_service"):
        made = made.merge(Resource({SERVICE_NAME: SERVICE}))
    return made


def _parent(trace: Trace) -> Context:
    if not trace.parent:
        return Context()
    parent = SpanContext(
        int(trace.trace_id, 16),
        int(trace.parent, 16),
        is_remote=True,
        trace_flags=TraceFlags(int(trace.flags, 16)),
    )
    return set_span_in_context(NonRecordingSpan(parent), Context())


def _place(agent: str) -> str:
    """Return the route of an agent or another callee, with nothing of the request's path."""
    if not agent:
        return ""
    return f"/{agent}" if "/" in agent else f"/agents/{agent}"


def _attributes(handled: Handled, place: str) -> dict[str, str | int]:
    attributes: dict[str, str | int] = {
        "http.request.method": handled.method,
        "http.route": place,
        "http.response.status_code": handled.status or "",
        "error.type": handled.code,
        "gateway.agent": handled.agent,
        "gateway.key_id": handled.key_id,
        "gateway.consumer": well_formed(handled.consumer),
        "gateway.request_id": handled.request_id,
        "gateway.tool": well_formed(handled.tool),
        "gateway.bytes_received": handled.received,
        "gateway.bytes_sent": handled.sent,
    }
    return {name: value for name, value in attributes.items() if value != ""}


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)
