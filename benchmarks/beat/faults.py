"""What happens to the holder. Each fault answers with the seconds until the next push, by another where one must take over."""

from __future__ import annotations

import signal
import time

from benchmarks.beat.arena import HOSTS, Arena
from benchmarks.beat.servers import Pair, Single, until

FREEZE = 5.0  # s
CUT = 4.0  # s
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
    holder.tool("handback", "--token", str(holder.folder / "beat.lease"))
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
    return _come_back(arena, at)


def stop_before_the_write(arena: Arena) -> float:
    """Everything has been checked, the message is ready: then nothing for longer than the lease lasts."""
    arena.holder().stop_before_the_write()
    return _come_back(arena, time.monotonic())


def _come_back(arena: Arena, at: float) -> float:
    holder = next(host for host in arena.hosts if host.stopped())
    took = arena.first_push(at, holder.pid).at - at
    time.sleep(1)
    holder.signal(signal.SIGCONT)
    time.sleep(LINGER)
    return took


def move(arena: Arena) -> float:
    """Pinned to the next host, from the moment at which Redis knows."""
    holder = arena.holder()
    target = HOSTS[(HOSTS.index(holder.host) + 1) % len(HOSTS)]
    holder.tool("place", "--mode", "pinned", "--host", target, "--json")
    at = time.monotonic()
    push = arena.first_push(at - 2, holder.pid)
    assert push.pid == next(host.pid for host in arena.hosts if host.host == target)
    return push.at - at


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


def lose_the_master(arena: Arena) -> float:
    assert isinstance(arena.servers, Pair)
    at = time.monotonic()
    mend = arena.servers.fail_over()
    took = arena.first_push(at).at - at
    mend()
    time.sleep(LINGER)
    return took


def lose_the_master_after_a_cut(arena: Arena) -> float:
    """The replica has been cut off for some seconds when the master is killed."""
    assert isinstance(arena.servers, Pair)
    arena.servers.cut()
    time.sleep(CUT)
    return lose_the_master(arena)
