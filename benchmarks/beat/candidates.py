"""Three beats as three hosts would run them, each in a process and a folder of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import redis
from celeryops.beat.tools import show
from celeryops.books import Books

from benchmarks.beat.application import PREFIX
from benchmarks.beat.servers import Pair, Single
from tests.support.waiting import until

ROOT = Path(__file__).resolve().parents[2]
APPLICATION = "benchmarks.beat.application"
FLEET = "bench"
TOKEN = "beat.lease"


class Candidate:
    """The beat of one host; it is given its environment anew at each start."""

    def __init__(self, folder: Path, host: str, arguments: list[str], environment: dict[str, str]) -> None:
        self.host = host
        self.folder = folder
        self._arguments = [*arguments, "-s", str(folder / "schedule"), "--pidfile=", "-l", "info"]
        self._stop = folder / "stop-before-the-write"
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("CELERY")},
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'runtime'}",
            "PYTHONDONTWRITEBYTECODE": "1",
            "BENCH_STOP": str(self._stop),
            "CELERY_LOADER": "celeryops.loader:FleetLoader",
            "CELERYOPS_FLEET": FLEET,
            "CELERYOPS_HOST": host,
            "CELERYOPS_NODE": "beat",
            **environment,
        }
        self.process: subprocess.Popen[bytes] | None = None
        self._log = folder / "log"
        self._begun = 0  # where in the log its present run begins
        self._felled = False  # whether its end is the benchmark's own doing

    @property
    def pid(self) -> int:
        return self.process.pid if self.process is not None else 0

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._begun = log.tell()
            self._felled = False
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "celery",
                    "-A",
                    APPLICATION,
                    "beat",
                    *self._arguments,
                ],
                cwd=self.folder,
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def tool(self, *arguments: str) -> str:
        """A command of the runtime, as a unit or an operator runs it on this host."""
        command = [sys.executable, "-m", "celeryops", "beat", *arguments]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} failed: {done.stderr or done.stdout}")
        return done.stdout

    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def crashed(self) -> bool:
        return not self.alive() and not self._felled

    def signal(self, number: int) -> None:
        self._felled = self._felled or number in (signal.SIGKILL, signal.SIGTERM)
        os.kill(self.pid, number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        assert self.process is not None
        self.process.wait()

    def stop_before_the_write(self) -> None:
        """Have it stop itself when the next message is ready to be sent."""
        self._stop.touch()
        until(self.stopped, f"{self.host} stops before its next publish")

    def hang(self, seconds: float) -> None:
        """Have its main loop stand still when the next message is ready to be sent; its threads go on."""
        fresh = self._stop.with_suffix(".new")
        fresh.write_text(str(seconds))
        fresh.rename(self._stop)
        until(lambda: not self._stop.exists(), f"{self.host} hangs before its next publish")

    def stopped(self) -> bool:
        return Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "T"

    def terminate(self) -> None:
        self.signal(signal.SIGTERM)
        until(lambda: not self.alive(), f"{self.host} ends")

    def log(self) -> str:
        """Of its present run."""
        return self._log.read_bytes()[self._begun :].decode(errors="replace")

    def end(self) -> None:
        if self.alive():
            self.kill()


class Lease:
    """This project's scheduler.

    Parameters:
        ttl, poll: s, of the lease and between two attempts of a standby.
        settings: more of CELERYOPS_BEAT.
    """

    name = "celeryops"

    def __init__(self, ttl: float = 10, poll: float = 1, **settings: Any) -> None:
        self._settings = {
            "lease": ttl,
            "poll": poll,
            "catch_up": "all",
            "scheduler": "celery.beat:Scheduler",
            **settings,
        }

    def candidate(self, folder: Path, host: str, servers: Single | Pair, skew: int) -> Candidate:
        settings = {**self._settings, "token": str(folder / TOKEN)}
        environment = {**surroundings(folder, servers, skew), "CELERYOPS_BEAT": json.dumps(settings)}
        return Candidate(folder, host, ["-S", "celeryops.beat:LeaseScheduler"], environment)

    @staticmethod
    def ready(hosts: Sequence[Candidate], client: redis.Redis) -> bool:
        """Whether each says in Redis that it is there."""
        found = {one["pid"] for one in show(Books(client, PREFIX, FLEET))["candidates"]}
        return all(host.pid in found for host in hosts)


class RedBeat:
    """RedBeat with its lock tuned to the same time; by default it is 1500 s."""

    name = "redbeat"

    def __init__(self, ttl: float = 10) -> None:
        self._ttl = ttl

    def candidate(self, folder: Path, host: str, servers: Single | Pair, skew: int) -> Candidate:
        environment = {**surroundings(folder, servers, skew), "BENCH_LOCK": str(self._ttl)}
        arguments = ["-S", "redbeat.RedBeatScheduler", "--max-interval", "1"]
        return Candidate(folder, host, arguments, environment)

    @staticmethod
    def ready(hosts: Sequence[Candidate], client: redis.Redis) -> bool:
        """Whether each waits for the lock or has it; only their logs say so."""
        return all("beat: Starting" in host.log() for host in hosts)


def surroundings(folder: Path, servers: Single | Pair, skew: int) -> dict[str, str]:
    """What the fleet's files would say on a host, and a clock that is ahead."""
    folder.mkdir(parents=True)
    transport = {"global_keyprefix": PREFIX, **servers.transport}
    (folder / "settings.json").write_text(json.dumps({"settings": {"broker_transport_options": transport}}))
    environment = {"CELERY_BROKER_URL": servers.url, "CELERYOPS_SETTINGS": str(folder / "settings.json")}
    if skew:
        library = folder / "skew.so"
        subprocess.run(
            ["cc", "-shared", "-fPIC", "-o", str(library), str(Path(__file__).with_name("skew.c")), "-ldl"],
            check=True,
        )
        environment.update(BENCH_SKEW=str(skew), LD_PRELOAD=str(library))
    return environment
