"""The protocol, spoken with a server that answers by script."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from ansible_collections.celeryops.fleet.plugins.module_utils.redis.client import Redis, RedisError


@contextmanager
def answering(answer: bytes, heard: list[bytes]) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _peer = listener.accept()
            with connection:
                heard.append(connection.recv(65536))
                connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(5)


def ask(answer: bytes, question: Callable[[Redis], object], heard: list[bytes] | None = None) -> object:
    with answering(answer, [] if heard is None else heard) as port, Redis("127.0.0.1", port) as redis:
        return question(redis)


@pytest.mark.parametrize(
    "answer, value",
    [
        (b"+OK\r\n", "OK"),
        (b":42\r\n", 42),
        (b"$5\r\nhello\r\n", "hello"),
        (b"$7\r\na\r\nb\r\nc\r\n", "a\r\nb\r\nc"),
        (b"$-1\r\n", None),
        (b"*3\r\n$1\r\na\r\n:1\r\n*0\r\n", ["a", 1, []]),
    ],
)
def test_answers(answer: bytes, value: object) -> None:
    assert ask(answer, lambda redis: redis.call("X")) == value


def test_questions_are_length_prefixed() -> None:
    heard: list[bytes] = []
    ask(b"+OK\r\n", lambda redis: redis.call("SET", "ü\r\n", 5), heard)
    assert heard == [b"*3\r\n$3\r\nSET\r\n$4\r\n\xc3\xbc\r\n\r\n$1\r\n5\r\n"]


def test_errors_carry_their_code() -> None:
    with pytest.raises(RedisError) as told:
        ask(b"-NOAUTH Authentication required.\r\n", lambda redis: redis.call("PING"))
    assert told.value.code == "NOAUTH"


@pytest.mark.parametrize("answer", [b"HTTP/1.0 400 Bad Request\r\n", b"$x\r\n", b"$5\r\nhel", b""])
def test_what_does_not_speak_redis(answer: bytes) -> None:
    with pytest.raises(ConnectionError):
        ask(answer, lambda redis: redis.call("PING"))


def test_info_and_config() -> None:
    info = b"# Server\r\nredis_version:7.0.15\r\nexecutable:/a:b\r\n\r\n"
    found = ask(b"$%d\r\n%s\r\n" % (len(info), info), lambda redis: redis.info())
    assert found == {"redis_version": "7.0.15", "executable": "/a:b"}
    assert ask(b"*2\r\n$4\r\nport\r\n$1\r\n1\r\n", lambda redis: redis.config()) == {"port": "1"}
