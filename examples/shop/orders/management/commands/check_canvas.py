import json
import time
from collections.abc import Callable
from typing import Any

from django.core.management.base import BaseCommand

from orders.checks import Deadline, checks


class Command(BaseCommand):
    help = "Run every kind of task and canvas on the workers and compare each result with the expected one."

    def add_arguments(self, parser):
        parser.add_argument("--timeout", type=float, default=60, metavar="SECONDS", help="for all checks")
        parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
        parser.add_argument("--schedule", action="store_true", help="also wait for beat's interval entry")

    def handle(self, *args, timeout, schedule, **options):
        begun = time.monotonic()
        deadline = Deadline(timeout)
        started = [(name, *_attempt(check)) for name, check in checks(schedule)]
        rows = [_row(name, error, finish, deadline) for name, error, finish in started]
        ok = all(row["ok"] for row in rows)
        seconds = round(time.monotonic() - begun, 1)
        if options["json"]:
            self.stdout.write(json.dumps({"ok": ok, "seconds": seconds, "checks": rows}, indent=2))
        else:
            self._table(rows, seconds)
        raise SystemExit(0 if ok else 1)

    def _table(self, rows, seconds):
        width = max(len(row["check"]) for row in rows)
        for row in rows:
            mark = self.style.SUCCESS("ok    ") if row["ok"] else self.style.ERROR("FAILED")
            self.stdout.write(f"{row['check']:{width}}  {mark}  {row['error'] or json.dumps(row['found'])}")
            if not row["ok"] and not row["error"]:
                self.stdout.write(f"{'':{width}}  expected {json.dumps(row['expected'])}")
        good = sum(row["ok"] for row in rows)
        self.stdout.write(f"{good} of {len(rows)} checks passed in {seconds} s")


def _attempt(step: Callable[..., Any], *args: Any) -> tuple[str, Any]:
    """The error, if any, and the result: what goes wrong in one check is not to hide the others."""
    try:
        return "", step(*args)
    except Exception as error:
        return f"{type(error).__name__}: {error}", None


def _row(name: str, error: str, finish: Any, deadline: Deadline) -> dict[str, Any]:
    verdict = None
    if not error:
        error, verdict = _attempt(finish, deadline)
    expected, found = verdict or (None, None)
    ok = not error and expected == found
    return {"check": name, "ok": ok, "expected": expected, "found": found, "error": error}
