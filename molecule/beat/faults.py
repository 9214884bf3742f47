"""Has the holder of beat's lease fail in every way, and counts every push.

    faults.py < REQUEST

It imports from the checkout, its runtime/ and molecule/shared/.

The request is JSON: {"fleet": NAME, "hosts": {HOST: CONTAINER}, "redis": [CONTAINER, UNIT], "url": BROKER,
"lease": SECONDS, "playbook": command that moves beat, with {host} in it}. Prints {"faults": [...], "pushes",
"duplicates", "missed", "out_of_order"}, and ends with 1 where beat did not do what it must.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import asdict
from typing import Any

import containers
import redis
from celeryops.beat.tools import ANYWHERE, place, show
from celeryops.books import Books

from benchmarks.beat.consumer import Consumer
from benchmarks.beat.counting import by_slot, out_of_order
from tests.support.waiting import until

LINGER = 2.0  # s that a holder which comes back may do harm
SLACK = 60.0  # s, for a machine that is busy


class Fleet:
    """The candidates, and what Redis says of them."""

    def __init__(self, request: dict[str, Any]) -> None:
        self.hosts: dict[str, str] = request["hosts"]
        self.unit = f"celery-{request['fleet']}-beat"
        self.lease = float(request["lease"])
        self.redis: list[str] = request["redis"]
        self.playbook: list[str] = request["playbook"]
        self._url: str = request["url"]
        self._fleet: str = request["fleet"]
        self.consumer = Consumer(lambda: redis.Redis.from_url(self._url, socket_timeout=None), "count")
        self.consumer.start()

    def books(self) -> Books:
        return Books(redis.Redis.from_url(self._url, socket_timeout=5), "", self._fleet)

    def seen(self) -> dict[str, Any]:
        """What `celeryops beat show` says; nothing while Redis is away."""
        try:
            return show(self.books())
        except (redis.RedisError, OSError):
            return {"lease": None, "candidates": [], "epoch": 0}

    def holder(self) -> dict[str, Any]:
        """The lease, once there is exactly one holder, the others stand by, and it sends."""

        def found() -> dict[str, Any] | None:
            now = self.seen()
            states = {one["host"]: one["state"] for one in now["candidates"]}
            lease: dict[str, Any] | None = now["lease"]
            wanted = {host: "holder" if lease and host == lease["host"] else "standby" for host in self.hosts}
            return lease if lease and states == wanted and self.sends(lease["pid"], lease["epoch"]) else None

        lease: dict[str, Any] = until(found, f"one holder among {', '.join(self.hosts)}", SLACK)
        return lease

    def sends(self, pid: int, epoch: int) -> bool:
        last = self.consumer.pushes[-1] if self.consumer.pushes else None
        return last is not None and (last.pid, last.epoch) == (pid, epoch) and time.monotonic() - last.at < 2

    def taken_over(self, lease: dict[str, Any]) -> None:
        """Another host has the lease, and sends."""

        def found() -> bool:
            now = self.seen()["lease"]
            return bool(now and now["host"] != lease["host"] and self.sends(now["pid"], now["epoch"]))

        until(found, f"another host takes over from {lease['host']}", self.lease + SLACK)

    def on(self, host: str, *command: str) -> None:
        containers.must("exec", self.hosts[host], *command)

    def signal(self, host: str, name: str) -> None:
        self.on(host, "systemctl", "kill", f"--signal={name}", "--kill-who=main", self.unit)


def killed(fleet: Fleet, lease: dict[str, Any]) -> None:
    """Its unit gives the lease back: nobody waits until it has run out."""
    begun = time.monotonic()
    fleet.signal(lease["host"], "KILL")
    fleet.taken_over(lease)
    took = time.monotonic() - begun
    if took >= fleet.lease - 2:
        raise AssertionError(f"a killed beat's lease was not given back: another took it after {took:.1f} s")


def stopped(fleet: Fleet, lease: dict[str, Any]) -> None:
    fleet.on(lease["host"], "systemctl", "stop", fleet.unit)
    fleet.taken_over(lease)
    fleet.on(lease["host"], "systemctl", "start", fleet.unit)


def host_lost(fleet: Fleet, lease: dict[str, Any]) -> None:
    containers.must("kill", fleet.hosts[lease["host"]])
    fleet.taken_over(lease)
    containers.must("start", fleet.hosts[lease["host"]])


def frozen(fleet: Fleet, lease: dict[str, Any]) -> None:
    fleet.signal(lease["host"], "STOP")
    fleet.taken_over(lease)
    fleet.signal(lease["host"], "CONT")
    time.sleep(LINGER)


def cut_off(fleet: Fleet, lease: dict[str, Any]) -> None:
    containers.cut("network", fleet.hosts[lease["host"]])
    try:
        fleet.taken_over(lease)
    finally:
        containers.mend("network", fleet.hosts[lease["host"]])
    time.sleep(LINGER)


def redis_restarted(fleet: Fleet, lease: dict[str, Any]) -> None:
    container, unit = fleet.redis
    containers.must("exec", container, "systemctl", "restart", unit)


def moved(fleet: Fleet, lease: dict[str, Any]) -> None:
    """Pinned to another host, while Ansible cannot reach the one that sends: the lease is taken from it."""
    target = next(host for host in fleet.hosts if host != lease["host"])
    containers.cut("ssh", fleet.hosts[lease["host"]])
    try:
        done = subprocess.run(
            [word.format(host=target) for word in fleet.playbook], capture_output=True, text=True, timeout=300
        )
        now = fleet.seen()["lease"]
        if not now or now["host"] != target or now["epoch"] <= lease["epoch"]:
            raise AssertionError(
                f"beat was moved to {target}, the lease is {now}:\n{done.stdout}{done.stderr}"
            )
    finally:
        containers.mend("ssh", fleet.hosts[lease["host"]])
        place(fleet.books(), ANYWHERE, "")


FAULTS = (killed, stopped, host_lost, frozen, cut_off, redis_restarted, moved)


def main() -> None:
    fleet = Fleet(json.load(sys.stdin))
    report: list[dict[str, Any]] = []
    try:
        for fault in FAULTS:
            before = fleet.holder()
            begun = time.monotonic()
            fault(fleet, before)
            after = fleet.holder()
            report.append(
                {
                    "fault": fault.__name__,
                    "from": f"{before['host']}, epoch {before['epoch']}",
                    "to": f"{after['host']}, epoch {after['epoch']}",
                    "seconds": round(time.monotonic() - begun, 1),
                }
            )
    except AssertionError as error:
        sys.exit(f"after {report}: {error}\nNow: {json.dumps(fleet.seen(), indent=1)}")
    finally:
        fleet.consumer.end()
    pushes = fleet.consumer.pushes
    print(json.dumps({"faults": report, **asdict(by_slot(pushes)), "out_of_order": out_of_order(pushes)}))


if __name__ == "__main__":
    main()
