"""Real beats behind the lease, around each of the schedulers that people use."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

SETTINGS = {"broker_transport_options": {"global_keyprefix": "grove:"}}

DJANGO = """
import os
from pathlib import Path

from celery import Celery
from django.conf import settings

settings.configure(
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "OPTIONS": {"timeout": 20},
                           "NAME": Path(__file__).parent / "db.sqlite3"}},
    INSTALLED_APPS=["django_celery_beat"],
    USE_TZ=True,
    TIME_ZONE="Europe/Berlin",
)
import django
django.setup()

app = Celery("orchard")
app.conf.update(task_default_queue="oak", timezone="Europe/Berlin",
                broker_transport_options={"global_keyprefix": "grove:"},
                beat_schedule={"often": {"task": "grove.touch", "schedule": 1.0, "args": ["ticked"]}})
"""

MIGRATE = """
import orchard
from django.core.management import call_command
call_command("migrate", verbosity=0)
"""

ADD = """
import orchard
from django_celery_beat.models import IntervalSchedule, PeriodicTask
every, _ = IntervalSchedule.objects.get_or_create(every=1, period=IntervalSchedule.SECONDS)
PeriodicTask.objects.create(name="added", task="grove.touch", interval=every)
"""

LAST = """
import orchard
from django_celery_beat.models import PeriodicTask
print(PeriodicTask.objects.get(name="often").last_run_at.timestamp())
"""

SELDOM = """
import celeryops.publisher
from grove import app

celeryops.publisher.INTERVAL = 3600.0
"""

REDBEAT = """
from celery import Celery

app = Celery("orchard")
app.conf.update(task_default_queue="oak", broker_transport_options={"global_keyprefix": "grove:"},
                redbeat_redis_url=__import__("os").environ["CELERY_BROKER_URL"],
                beat_schedule={"often": {"task": "grove.touch", "schedule": 1.0, "args": ["ticked"]}})
"""

AROUND = """
from celery import Celery, Task


class Stubborn(Task):
    def apply_async(self, args=None, kwargs=None, producer=None, **options):
        return super().apply_async(args, kwargs, **options)


app = Celery("orchard", task_cls=Stubborn)
app.conf.update(task_default_queue="oak", broker_transport_options={"global_keyprefix": "grove:"},
                beat_schedule={"often": {"task": "orchard.touch", "schedule": 1.0}})


@app.task(name="orchard.touch")
def touch():
    pass
"""

INTERRUPTED = """
import os
import signal
import time

from celery import Celery, Task


class Interrupted(Task):
    def apply_async(self, *args, **options):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)
        except SystemExit:
            raise ValueError("I/O operation on closed file") from None


app = Celery("orchard", task_cls=Interrupted)
app.conf.update(task_default_queue="oak", broker_transport_options={"global_keyprefix": "grove:"},
                beat_schedule={"often": {"task": "orchard.touch", "schedule": 1.0}})


@app.task(name="orchard.touch")
def touch():
    pass
"""

OWN_TICK = """
from celery import Celery
from celery.beat import Scheduler


class Hasty(Scheduler):
    def tick(self, *args, **kwargs):
        return 1.0


app = Celery("orchard", broker="redis://")
"""


class Candidates:
    """Beats of the grove on hosts of their own names."""

    def __init__(self, grove: Any, until: Any) -> None:
        self.grove = grove
        self.until = until
        self.app = "grove"
        self.options: dict[str, Any] = {"lease": 2.0, "poll": 0.3, "catch_up": "all"}
        self.environment = {"CELERYOPS_SETTINGS": grove.settings(**SETTINGS), "CELERYOPS_NODE": "beat"}

    def start(self, host: str) -> subprocess.Popen[bytes]:
        chosen = {**self.options, "token": str(self.token(host))}
        process: subprocess.Popen[bytes] = self.grove.start(
            "beat", "-S", "celeryops.beat:LeaseScheduler", "-s", str(self.grove.folder / f"{host}.schedule"),
            "-l", "info", app=self.app, CELERYOPS_HOST=host, CELERYOPS_POOL="",
            CELERYOPS_BEAT=json.dumps(chosen), **self.environment,
        )  # fmt: skip
        return process

    def token(self, host: str) -> Path:
        path: Path = self.grove.folder / f"{host}.lease"
        return path

    def show(self) -> dict[str, Any]:
        from celeryops.beat import tools

        return tools.show(self.grove.books())

    def holder(self) -> str:
        lease = self.show()["lease"]
        return lease["host"] if lease else ""

    def sent(self) -> Counter[tuple[str, str]]:
        found: Counter[tuple[str, str]] = Counter()
        for text in self.grove.books().client.lrange("grove:oak", 0, -1):
            about = json.loads(text)["headers"].get("celeryops_beat") or {"entry": "", "slot": text.decode()}
            found[about["entry"], about["slot"]] += 1
        return found

    def number(self, entry: str = "often") -> int:
        return sum(1 for name, _ in self.sent() if name == entry)

    def script(self, text: str) -> str:
        result = subprocess.run(
            [sys.executable, "-c", text],
            cwd=self.grove.folder,
            env={**os.environ, "CELERY_BROKER_URL": self.grove.server.url},
            capture_output=True,
            text=True,
            check=True,
        )
        return result.stdout


@pytest.fixture
def candidates(grove: Any, until: Any) -> Candidates:
    return Candidates(grove, until)


def takes_over(candidates: Candidates) -> str:
    """The holder is killed; the other one goes on where it was. Returns who that is."""
    until = candidates.until
    beats = {host: candidates.start(host) for host in ("worker1", "worker2")}
    until(lambda: candidates.number() >= 2, "a beat sends")
    first = candidates.holder()
    beats[first].kill()
    before = candidates.number()
    (second,) = set(beats) - {first}
    until(lambda: candidates.holder() == second, "the other one takes the lease")
    until(lambda: candidates.number() >= before + 4, "and sends")
    sent = candidates.sent()
    assert max(sent.values()) == 1, "each slot once"
    slots = sorted(datetime.fromisoformat(slot) for name, slot in sent if name == "often")
    gaps = {(later - earlier).total_seconds() for earlier, later in itertools.pairwise(slots)}
    assert gaps == {1.0}, "and none is missing"
    return second


def test_around_the_schedule_in_a_file(candidates: Candidates) -> None:
    second = takes_over(candidates)
    (record,) = [one for one in candidates.grove.books().read()["beats"] if one["host"] == second]
    assert record["scheduler"] == "celery.beat:PersistentScheduler"
    assert record["lease"] == {"state": "holder", "epoch": 2, "trouble": ""}


def test_its_record_says_at_once_who_sends(candidates: Candidates) -> None:
    """Here records are written when something has changed, and not every few seconds."""
    (candidates.grove.folder / "orchard.py").write_text(SELDOM)
    candidates.app = "orchard"
    beat = candidates.start("worker1")

    def state(host: str) -> str:
        beats = candidates.grove.books().read()["beats"]
        return next((one["lease"]["state"] for one in beats if one["host"] == host), "")

    candidates.until(lambda: state("worker1") == "holder", "its record says that it sends")
    beat.send_signal(signal.SIGSTOP)
    candidates.until(lambda: not candidates.holder(), "it loses the lease")
    candidates.start("worker2")
    candidates.until(lambda: state("worker2") == "holder", "the other one's record says that it sends")
    beat.send_signal(signal.SIGCONT)
    candidates.until(lambda: state("worker1") == "standby", "and the first one's that it stands by")


def test_around_the_schedule_in_a_database(candidates: Candidates) -> None:
    (candidates.grove.folder / "orchard.py").write_text(DJANGO)
    candidates.environment["DJANGO_SETTINGS_MODULE"] = "orchard"
    candidates.script(MIGRATE)
    candidates.app = "orchard"
    candidates.options["scheduler"] = "django_celery_beat.schedulers:DatabaseScheduler"
    second = takes_over(candidates)
    candidates.script(ADD)
    candidates.until(lambda: candidates.number("added") >= 2, "an entry that was added is sent")
    beat = next(one for one in candidates.show()["candidates"] if one["host"] == second)
    os.kill(beat["pid"], 15)
    candidates.until(lambda: not candidates.holder(), "the lease is given back")
    slots = {slot for name, slot in candidates.sent() if name == "often"}

    def stored() -> bool:
        return float(candidates.script(LAST)) == max(
            datetime.fromisoformat(slot).timestamp() for slot in slots
        )

    candidates.until(stored, "the row says the last slot")


def test_around_redbeat(candidates: Candidates) -> None:
    (candidates.grove.folder / "orchard.py").write_text(REDBEAT)
    candidates.app = "orchard"
    candidates.options["scheduler"] = "redbeat:RedBeatScheduler"
    takes_over(candidates)
    assert not candidates.grove.books().client.exists("redbeat::lock"), "its own lock is off"


def test_a_task_that_goes_around_the_fence_is_told(candidates: Candidates) -> None:
    (candidates.grove.folder / "orchard.py").write_text(AROUND)
    candidates.app = "orchard"
    candidates.start("worker1")
    candidates.until(
        lambda: any(
            "often is sent around the fence" in one["trouble"] for one in candidates.show()["candidates"]
        ),
        "the candidate says so",
    )
    assert "CRITICAL" in candidates.grove.log() and "does not pass `producer` on" in candidates.grove.log()


@pytest.mark.parametrize(
    "scheduler, environment, message",
    [
        ("orchard:Hasty", {}, "orchard.Hasty has a tick of its own"),
        (
            "",
            {"CELERY_BROKER_URL": "memory://"},
            "is not Redis: beat on one host of several needs a lease in Redis",
        ),
    ],
)
def test_what_cannot_run_behind_the_lease_is_refused(
    candidates: Candidates, scheduler: str, environment: dict[str, str], message: str
) -> None:
    (candidates.grove.folder / "orchard.py").write_text(OWN_TICK)
    candidates.environment.update(environment)
    candidates.app = "orchard"
    candidates.options["scheduler"] = scheduler
    beat = candidates.start("worker1")
    assert beat.wait(60) != 0
    assert message in candidates.grove.log()


def patient(candidates: Candidates) -> dict[str, subprocess.Popen[bytes]]:
    """Two beats, of which one sends, and the other would wait for a minute by itself."""
    candidates.options.update(lease=60.0, poll=20.0)
    beats = {host: candidates.start(host) for host in ("worker1", "worker2")}
    candidates.until(
        lambda: candidates.number() and len(candidates.show()["candidates"]) == 2, "both are there"
    )
    return beats


def test_told_to_stop_it_hands_over_at_once(candidates: Candidates) -> None:
    """With a lease of a minute nobody could take it so soon unless it was given back."""
    beats = patient(candidates)
    first = candidates.holder()
    beats[first].terminate()
    assert beats[first].wait(60) == 0
    began = time.monotonic()
    candidates.until(lambda: candidates.holder() not in ("", first), "the bell was heard")
    assert time.monotonic() - began < 40
    assert not candidates.token(first).exists()


def test_told_to_stop_in_the_midst_of_a_publish_it_stops(candidates: Candidates) -> None:
    # What Celery's signal handler raises may become another error in what it has interrupted.
    (candidates.grove.folder / "orchard.py").write_text(INTERRUPTED)
    candidates.app = "orchard"
    process = candidates.start("worker1")
    assert process.wait(60) == 0
    assert candidates.grove.log().count("sends from now on") == 1
    assert candidates.show()["lease"] is None
    assert candidates.show()["candidates"] == []


def test_after_a_crash_the_unit_hands_back(candidates: Candidates) -> None:
    beats = patient(candidates)
    first = candidates.holder()
    beats[first].kill()
    beats[first].wait()
    candidates.grove.run("celeryops", "beat", "handback", "--token", str(candidates.token(first)))
    candidates.until(lambda: candidates.holder() not in ("", first), "the other one takes it")


def test_a_main_loop_that_hangs_loses_the_lease(server: Any, grove: Any) -> None:
    import celery
    from celeryops.beat.lease import Lease
    from celeryops.beat.watch import Progress, Renewer

    app = celery.Celery(broker=server.url, set_as_current=False, loader="app")
    lease = Lease(app, "grove", "beat@worker1", "worker1", 5.0, 1.0, lambda: "{}")
    progress, woken = Progress(), []
    renewer = Renewer(lease, progress, lambda: woken.append(True))
    assert lease.acquire().held is not None
    renewer.turn()
    assert lease.held is not None
    progress.at -= 16
    renewer.turn()
    assert lease.held is None
    assert grove.server and not _client(server).exists(lease.keys.lease)
    lease.disconnect()


def _client(server: Any) -> Any:
    import redis

    return redis.Redis(port=server.port)
