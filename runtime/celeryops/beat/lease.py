"""The lease: one process at a time has it. Its timing rules, and the calls to Redis behind them.

- The holder renews every `poll` seconds. Each success moves its deadline to the moment when the call was
sent, plus
  the TTL, minus a margin: Redis counts the TTL from a later moment, so the holder stops before the lease can
  have run out. The clock counts the time in which the machine was suspended.
- A standby tries every `poll` seconds, or when the lease it sees will have run out, or when the bell rings.
- What a holder sends after its deadline, because it did not notice, is refused by the fence.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from celeryops.beat import scripts
from celeryops.beat.keys import Keys
from celeryops.beat.ledger import Line, read_lines
from celeryops.log import logger
from celeryops.redisclient import close, connect

MARGIN = 0.1  # of the TTL, for the tick of the clocks and a thread that wakes late
RECORD_MIN = 5.0  # s that a candidate's record lasts at least
KEPT, LOST, HAND_OVER = 1, 0, 2

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def clock() -> float:
    """Seconds on a clock that nobody sets, and that goes on while the machine sleeps."""
    return time.clock_gettime(_CLOCK)


@dataclass(frozen=True)
class Held:
    """A lease that this process has: its token and epoch, and until when on `clock` it may act on it."""

    token: str
    epoch: int
    deadline: float

    def valid(self) -> bool:
        return clock() < self.deadline


@dataclass(frozen=True)
class Answer:
    """What became of an attempt: the lease or None; ms after which somebody else's may be free, else None."""

    held: Held | None
    left: float | None = None


class Lease:
    """The lease as one process sees it. Plain attributes, hence no lock: a signal handler of the main thread
    closes it, whatever that thread is doing.

    Parameters:
        app: The application, for the connection to its broker.
        fleet: Name of the fleet.
        node, host: This candidate.
        ttl, poll: Seconds, see `Options`.
        describe: What the candidate says of itself, as JSON text.
        token_file: Where the token is kept while the lease is held; empty for nowhere.
    """

    def __init__(
        self,
        app: Any,
        fleet: str,
        node: str,
        host: str,
        ttl: float,
        poll: float,
        describe: Callable[[], str],
        token_file: str = "",
    ) -> None:
        self.host = host
        self.ttl = ttl
        self.poll = poll
        self.fit = True  # whether this process could do the work
        self.held: Held | None = None
        self._app = app
        self._fleet = fleet
        self._identity = f"{node}|{host}|{os.getpid()}|{uuid.uuid4().hex[:12]}"
        self._describe = describe
        self._token_file = token_file
        self._epoch = 0
        self._client: Any = None
        self._scripts: dict[str, Any] = {}
        self.keys = Keys("", fleet)

    def acquire(self) -> Answer:
        """Say that this candidate is there, and take the lease if it may."""
        sent = clock()
        keys = self.keys_of_broker()
        taken, epoch, left, _ = self._run(
            scripts.ACQUIRE,
            [keys.lease, keys.epoch, keys.place, keys.candidate(self.host), keys.candidates],
            [
                self._identity,
                self.host,
                _ms(self.ttl),
                self._describe(),
                self._record_ms(),
                int(self.fit),
                keys.candidate_prefix,
                self._epoch,
            ],
        )
        self._epoch = max(self._epoch, int(epoch))
        if not taken:
            return Answer(None, int(left) / 1000 if int(left) >= 0 else None)
        self.held = Held(f"{int(epoch)}|{self._identity}", int(epoch), self._deadline(sent))
        self._keep_token(self.held.token)
        return Answer(self.held)

    def renew(self) -> int:
        """Keep the lease: KEPT, LOST, or HAND_OVER when it should be elsewhere."""
        held = self.held
        if held is None:
            return LOST
        sent = clock()
        keys = self.keys_of_broker()
        result = int(
            self._run(
                scripts.RENEW,
                [keys.lease, keys.place, keys.candidate(self.host), keys.candidates],
                [
                    held.token,
                    self.host,
                    _ms(self.ttl),
                    self._describe(),
                    self._record_ms(),
                    keys.candidate_prefix,
                ],
            )
        )
        if result == KEPT and self.held is held:
            self.held = Held(held.token, held.epoch, self._deadline(sent))
        return result

    def drop(self) -> None:
        """Act on it no more."""
        self.held = None
        self._keep_token("")

    def release(self, gone: bool) -> None:
        """Give the lease back at once; `gone` when this candidate ends."""
        self.held = None
        keys = self.keys_of_broker()
        self._run(
            scripts.RELEASE, [keys.lease, keys.candidate(self.host), keys.bell], [self._identity, int(gone)]
        )
        self._keep_token("")

    def ledger(self) -> dict[str, Line]:
        """The whole ledger."""
        found = self._connected().hgetall(self.keys_of_broker().ledger)
        return read_lines({_text(name): _text(line) for name, line in found.items()})

    def baselines(self, token: str, lines: Mapping[str, Line]) -> dict[str, Line] | None:
        """Enter lines for entries that have none; what stands there now, None when the lease is lost."""
        if not lines:
            return {}
        keys = self.keys_of_broker()
        flat = [part for name, line in lines.items() for part in (name, line.text())]
        found = self._run(scripts.BASELINES, [keys.lease, keys.ledger], [token, *flat])
        if found is None:
            return None
        return read_lines({name: _text(line) for name, line in zip(lines, found, strict=True)})

    def pass_over(self, token: str, entry: str, before: Line, after: Line) -> int:
        """Go on in the ledger without a task; answers as the fence does."""
        keys = self.keys_of_broker()
        return int(
            self._run(
                scripts.PUSH, [keys.lease, keys.ledger], [token, entry, before.text(), after.text(), ""]
            )
        )

    def keys_of_broker(self) -> Keys:
        """The keys, with the prefix that is known once a connection was made."""
        self._connected()
        return self.keys

    def pubsub(self) -> Any:
        """A subscription to the bell."""
        subscription = self._connected().pubsub(ignore_subscribe_messages=True)
        subscription.subscribe(self.keys.bell)
        return subscription

    def disconnect(self) -> None:
        client, self._client = self._client, None
        self._scripts = {}
        if client is not None:
            try:
                close(client)
            except Exception as exc:
                logger.debug("celeryops: a connection of the lease could not be closed: %s", exc)

    def _connected(self) -> Any:
        if self._client is None:
            # A call that hangs longer than the lease lasts is of no use to anybody.
            self._client, prefix = connect(self._app, min(5.0, self.ttl / 2))
            self.keys = Keys(prefix, self._fleet)
        return self._client

    def _run(self, script: str, keys: list[str], arguments: list[Any]) -> Any:
        client = self._connected()
        if script not in self._scripts:
            self._scripts[script] = client.register_script(script)
        return self._scripts[script](keys, arguments, client)

    def _deadline(self, sent: float) -> float:
        return sent + self.ttl * (1 - MARGIN)

    def _record_ms(self) -> int:
        return _ms(max(3 * self.poll, RECORD_MIN))

    def _keep_token(self, token: str) -> None:
        if not self._token_file:
            return
        path = Path(self._token_file)
        try:
            if not token:
                path.unlink(missing_ok=True)
            else:
                write_private(path, token)
        except OSError as exc:
            logger.warning(
                "celeryops: %s cannot be written (%s): after a crash the lease is free only when its %g s "
                "are over",
                path,
                exc,
                self.ttl,
            )


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, in one step."""
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        stream.write(text)
    fresh.replace(path)


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
