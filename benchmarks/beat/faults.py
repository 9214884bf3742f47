"""What happens to the holder. Each answers with the seconds until the next push, of another if it must be."""

from __future__ import annotations

import itertools
import signal
import time
from collections.abc import Callable

from celeryops.beat.tools import ANYWHERE, PINNED, PREFERRED, place
from celeryops.books import Books

from benchmarks.beat.application import PREFIX
from benchmarks.beat.arena import Arena
from benchmarks.beat.candidates import FLEET, TOKEN, Candidate
from benchmarks.beat.servers import Pair, Single
from tests.support.waiting import until

FREEZE = 5.0  # s
CUT = 4.0  # s
HANG = 25.0  # s; longer than a holder may stand still that has a short lease
LINGER = 2.0  # s that a holder which comes back may do harm


def kill(arena: Arena) -> float:
    holder = arena.holder()
    at = time.monotonic()
    holder.kill()
    return arena.first_push(at, holder.pid).at - at


def kill_and_hand_back(arena: Arena) -> float:
    """As systemd does it: once the process has died, ExecStopPost gives its lease back."""
    holder = arena.holder()
    at = time.monotonic()
    holder.kill()
    holder.tool("handback", "--token", str(holder.folder / TOKEN))
    return arena.first_push(at, holder.pid).at - at


def terminate(arena: Arena) -> float:
    holder = arena.holder()
    at = time.monotonic()
    holder.signal(signal.SIGTERM)
    took = arena.first_push(at, holder.pid).at - at
    until(lambda: not holder.alive(), "the old holder ends")
    return took


def stop_and_continue(arena: Arena) -> float:
    holder = arena.holder()
    at = time.monotonic()
    holder.signal(signal.SIGSTOP)
    return _come_back(arena, holder, at)


def stop_before_the_write(arena: Arena) -> float:
    """Everything has been checked, the message is ready: then nothing for longer than the lease lasts."""
    holder = arena.holder()
    holder.stop_before_the_write()
    return _come_back(arena, holder, time.monotonic())


def hang(arena: Arena) -> float:
    """The main loop stands still while the thread that renews the lease is well."""
    holder = arena.holder()
    at = time.monotonic()
    holder.hang(HANG)
    took = arena.first_push(at, holder.pid).at - at
    time.sleep(max(0.0, HANG - took) + LINGER)
    return took


def _come_back(arena: Arena, holder: Candidate, at: float) -> float:
    took = arena.first_push(at, holder.pid).at - at
    time.sleep(1)
    holder.signal(signal.SIGCONT)
    time.sleep(LINGER)
    return took


def move(arena: Arena) -> float:
    """Pinned to the next host, from the moment at which Redis knows; then it may be anywhere again."""
    holder = arena.holder()
    target = arena.hosts[(arena.hosts.index(holder) + 1) % len(arena.hosts)]
    with arena.servers.client() as client:
        books = Books(client, PREFIX, FLEET)
        at = time.monotonic()
        place(books, PINNED, target.host)
        push = arena.first_push(at, holder.pid)
        place(books, ANYWHERE, "")
    if push.pid != target.pid:
        raise RuntimeError(f"beat was pinned to {target.host}, and another host has sent {push}")
    return push.at - at


def kill_the_preferred(arena: Arena) -> float:
    """Another one takes over, and gives the lease back to the preferred host once that is there again."""
    holder = arena.holder()
    with arena.servers.client() as client:
        books = Books(client, PREFIX, FLEET)
        place(books, PREFERRED, holder.host)
        at = time.monotonic()
        holder.kill()
        took = arena.first_push(at, holder.pid).at - at
        holder.start()
        until(lambda: arena.pushes[-1].pid == holder.pid, f"{holder.host} sends again, which is preferred")
        place(books, ANYWHERE, "")
    return took


def freeze(arena: Arena) -> float:
    """Redis stands still for some seconds."""
    assert isinstance(arena.servers, Single)
    arena.servers.server.signal(signal.SIGSTOP)
    time.sleep(FREEZE)
    at = time.monotonic()
    arena.servers.server.signal(signal.SIGCONT)
    took = arena.first_push(at).at - at
    time.sleep(LINGER)
    return took


def restart_redis(arena: Arena) -> float:
    """Redis is killed and reads its append-only file again."""
    assert isinstance(arena.servers, Single)
    arena.servers.server.kill()
    arena.servers.server.start()
    at = time.monotonic()
    took = arena.first_push(at).at - at
    time.sleep(LINGER)
    return took


def lose_the_master(arena: Arena, after: Callable[[], None] | None = None) -> float:
    assert isinstance(arena.servers, Pair)
    at = time.monotonic()
    arena.servers.fail_over(after)
    took = arena.first_push(at).at - at
    time.sleep(LINGER)
    return took


def lose_the_master_after_a_cut(arena: Arena) -> float:
    """The replica has been cut off for some seconds when the master is killed."""
    assert isinstance(arena.servers, Pair)
    arena.servers.cut()
    time.sleep(CUT)
    return lose_the_master(arena)


def lose_the_master_after_a_silent_cut(arena: Arena) -> float:
    """As a network that drops packets: only by the silence does the master learn that nobody follows it."""
    assert isinstance(arena.servers, Pair)
    end = arena.servers.stall()
    time.sleep(CUT)
    return lose_the_master(arena, end)


def by_turns(*strikes: Callable[[Arena], float]) -> Callable[[Arena], float]:
    """Each time another of them."""
    turns = itertools.cycle(strikes)

    def strike(arena: Arena) -> float:
        return next(turns)(arena)

    return strike
