"""The canary: a task that goes through a queue and leaves word in Redis who ran it."""

from __future__ import annotations

import json
import time
import uuid
from typing import Any

from celery import shared_task

from celeryops.books import Books
from celeryops.identity import Identity

TASK = "celeryops.canary"
ANSWER_TTL = 120  # s
WAIT_SLICE = 2  # s, below the client's command time-out


@shared_task(bind=True, name=TASK, ignore_result=True, max_retries=0)
def canary(self: Any, fleet: str, call: str) -> None:
    """Answer `call` of the books of `fleet`: node, release and fingerprint of this process."""
    me = Identity.from_env()
    answer = {"node": self.request.hostname, "release": me.release, "fingerprint": me.fingerprint}
    books = Books.open(self.app, fleet)
    key = books.key("canary", call)
    pipeline = books.client.pipeline(transaction=True)
    pipeline.rpush(key, json.dumps(answer))
    pipeline.expire(key, ANSWER_TTL)
    pipeline.execute()
    books.close()


def send_canaries(app: Any, books: Books, queues: list[str], timeout: float) -> dict[str, Any]:
    """Send one canary through each queue and wait for all.

    Parameters:
        app: The application, with its queues.
        books: Where the answers arrive.
        queues: Names of queues.
        timeout: Seconds to wait for the last answer.

    Returns:
        ``{"ok": bool, "queues": {queue: answer}}``, an answer being
        ``{"ok", "node", "release", "fingerprint", "seconds"}`` or ``{"ok", "error"}``
    """
    began = time.monotonic()
    results: dict[str, dict[str, Any]] = {}
    waiting: dict[str, str] = {}
    for queue in dict.fromkeys(queues):
        call = uuid.uuid4().hex
        try:
            _send(app, queue, books.fleet, call, timeout)
        except Exception as exc:
            results[queue] = {"ok": False, "error": f"cannot be sent: {exc!r}"}
        else:
            waiting[books.key("canary", call)] = queue
    while waiting and time.monotonic() - began < timeout:
        reply = books.client.blpop(list(waiting), timeout=WAIT_SLICE)
        if reply:
            key, text = (part.decode() if isinstance(part, bytes) else part for part in reply)
            seconds = round(time.monotonic() - began, 3)
            results[waiting.pop(key)] = {"ok": True, **json.loads(text), "seconds": seconds}
    if waiting:
        nodes = books.read()["nodes"]
        for queue in waiting.values():
            results[queue] = {"ok": False, "error": explain_silence(queue, nodes, timeout)}
    return {
        "ok": all(result["ok"] for result in results.values()),
        "queues": {queue: results[queue] for queue in dict.fromkeys(queues)},
    }


def _send(app: Any, queue: str, fleet: str, call: str, timeout: float) -> None:
    # Priority 0 is the first to be run on Redis, so a long queue does not hide a living worker.
    app.send_task(
        TASK, args=(fleet, call), queue=queue, priority=0, expires=timeout, ignore_result=True, retry=False
    )


def explain_silence(queue: str, nodes: list[dict[str, Any]], timeout: float) -> str:
    """Why no answer came, as far as the records can tell."""
    silence = f"no answer within {timeout:g} s"
    consumers = [node for node in nodes if queue in node["queues"]]
    if not consumers:
        return f"{silence}: no living node consumes the queue {queue}"
    busy = [node for node in consumers if node["active"] >= max(1, node["processes"])]
    listed = ", ".join(
        f"{node['node']} ({node['status']}, {node['active']} of {node['processes']} busy)"
        for node in consumers
    )
    if len(busy) == len(consumers):
        return f"{silence}: every process of the nodes that consume {queue} is busy: {listed}"
    return f"{silence} although these nodes consume {queue}: {listed}; read their logs"
