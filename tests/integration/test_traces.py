"""Traces: a real server sends real spans to a receiver of the test; steps stand in their request, nobody is named."""

from __future__ import annotations

import http.server
import queue
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.support.server import ask, running_server
from tests.support.wire import Wire

PARENT = "0af7651916cd43dd8448eb211c80319c"
SPAN_TIMEOUT_S = 60.0


class Receiver:
    """An OTLP/HTTP receiver on loopback."""

    def __init__(self) -> None:
        self.spans: queue.Queue[Span] = queue.Queue(maxsize=10_000)
        self.raw = b""
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                receiver.raw += body
                told = ExportTraceServiceRequest.FromString(body)
                for resource in told.resource_spans:
                    for scope in resource.scope_spans:
                        for span in scope.spans:
                            receiver.spans.put_nowait(span)
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *arguments: object) -> None:
                return

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self.server.server_port}/v1/traces"

    def taken(self) -> list[Span]:
        """Return all spans that came so far."""
        return [self.spans.get(timeout=SPAN_TIMEOUT_S) for _ in range(self.spans.qsize())]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    thread = threading.Thread(target=made.server.serve_forever)
    thread.start()
    try:
        yield made
    finally:
        made.server.shutdown()
        thread.join()
        made.server.server_close()


def test_a_commit_is_a_trace_of_its_steps_and_names_nobody(tmp_path: Path, receiver: Receiver) -> None:
    environment = {"SATCHEL_TRACE_ENDPOINT": receiver.endpoint, "OTEL_EXPORTER_OTLP_COMPRESSION": "none"}
    with running_server(tmp_path, environment=environment) as server:
        session = server.add_user("canary-user").sign_in("canary-device")
        with Wire(session) as wire:
            wire.commit(wire.create("canary-file", b"canary-content"), inline=[b"canary-content"])
        headers = {"traceparent": f"00-{PARENT}-b7ad6b7169203331-01"}
        assert (
            ask(server.url, "GET", "/api/v1/entry?path=/canary-none", token=session.token, headers=headers).status
            == 404
        )
    # What waited was sent before the process ended.
    spans = receiver.taken()
    (commit,) = [span for span in spans if span.name == "POST /sync/v1/commit"]
    steps = [span.name for span in spans if span.parent_span_id == commit.span_id]
    assert "database write" in steps and "block store put" in steps
    (entry,) = [span for span in spans if span.name == "GET /api/v1/entry"]
    assert entry.trace_id.hex() == PARENT
    attributes = {each.key: each.value for each in entry.attributes}
    assert attributes["http.response.status_code"].int_value == 404
    assert attributes["satchel.code"].string_value == "not_found"
    secret = (session.token.encode(), session.device_id, session.device_id.hex().encode(), session.root_ns)
    assert [word for word in (b"canary", *secret) if word in receiver.raw] == []


def test_a_collector_that_is_gone_holds_nothing_up(tmp_path: Path) -> None:
    with running_server(tmp_path, environment={"SATCHEL_TRACE_ENDPOINT": "http://127.0.0.1:1/v1/traces"}) as server:
        assert ask(server.url, "GET", "/ready").status == 200
        assert server.stop() == 0
