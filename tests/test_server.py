"""The server below the application: what clients offer that HTTP/1.1 servers may pass over."""

import json
import socket

import pytest

from tests.process import Headrace

BODY = json.dumps({"features": {"a": 1, "said": "Upgrade: h2c\r\nConnection: Upgrade"}}).encode()


def ask(service: Headrace, *headers: str, body: bytes = BODY, path: str = "predict") -> bytes:
    """What a POST with these headers is answered, until the connection is closed."""
    head = "\r\n".join(
        [
            f"POST /v1/models/m/{path} HTTP/1.1",
            "Host: headrace",
            *headers,
            f"Content-Length: {len(body)}",
            "\r\n",
        ]
    )
    with socket.create_connection(("127.0.0.1", service.port), timeout=20) as connection:
        connection.sendall(head.encode() + body)
        connection.settimeout(3)
        answer = b""
        try:
            while data := connection.recv(65_536):
                answer += data
                if answer.endswith(b"}"):
                    break
        except TimeoutError:
            pass
        return answer


@pytest.mark.parametrize(
    "headers",
    [
        # As Java's client sends by default: an offer to go on in HTTP/2.
        ("Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: AAEAAEAA", "Upgrade: h2c"),
        ("upgrade:h2c", "connection:upgrade,http2-settings,keep-alive", "http2-settings:AAEA"),
        (
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Key: x3JJHMbDL1EzLkh9GBhXDw==",
        ),
        ("Upgrade: TLS/1.0", "Connection: Upgrade"),
    ],
)
def test_an_offer_to_speak_another_protocol_is_passed_over(
    service: Headrace, headers: tuple[str, ...]
) -> None:
    service.create("m")
    answer = ask(service, *headers)
    assert answer.startswith(b"HTTP/1.1 200 "), answer
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["prediction"] is False


def test_a_connection_that_is_to_be_closed_is_closed_all_the_same(service: Headrace) -> None:
    service.create("m")
    with socket.create_connection(("127.0.0.1", service.port), timeout=20) as connection:
        connection.sendall(
            b"GET /healthz HTTP/1.1\r\nHost: h\r\n"
            b"Upgrade: h2c\r\nConnection: Upgrade, close\r\n\r\n"
        )
        answer = b""
        while data := connection.recv(65_536):
            answer += data
    assert b"alive" in answer


def test_what_is_no_http_behind_a_stream_ends_the_connection_and_no_other(
    service: Headrace,
) -> None:
    service.create("m")
    with socket.create_connection(("127.0.0.1", service.port), timeout=20) as connection:
        connection.sendall(
            b"POST /v1/models/m/feedback/batch HTTP/1.1\r\nHost: h\r\n"
            b"Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"3\r\n{}\n\r\n" + b"no chunk size\r\n" * 3
        )
        while connection.recv(65_536):
            pass
    assert service.get("/healthz").status == 200
    assert "Traceback" not in service.log.read_text()
