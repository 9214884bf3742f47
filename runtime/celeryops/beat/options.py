"""What a candidate goes by, from the environment variable ``CELERYOPS_BEAT``. Pure."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

VARIABLE = "CELERYOPS_BEAT"
ALL, COALESCE, SKIP = "all", "coalesce", "skip"
POLICIES = (ALL, COALESCE, SKIP)
MIN_LEASE = 1.0  # s; below it a slow answer of Redis ends a lease


class OptionsError(ValueError):
    """An option that cannot work; the text says which, and what to write instead."""


@dataclass(frozen=True)
class Options:
    """The options of beat.

    Parameters:
        scheduler: Inner scheduler as Celery imports it; empty for the application's ``beat_scheduler``.
        lease: Seconds that the lease lasts when nobody renews it.
        poll: Seconds between two attempts of a standby to take it.
        catch_up: What becomes of slots that were missed: ``all`` sends each, ``coalesce`` the latest of them,
            ``skip`` none that fell due before this beat took the lease.
        catch_up_limit: Most slots of one entry that ``all`` sends for one outage; the oldest are dropped.
        catch_up_entries: Another policy for entries by their names.
        token: File in which the holder keeps its token, for who gives the lease back after a crash; empty for
        none.
    """

    scheduler: str = ""
    lease: float = 10.0
    poll: float = 1.0
    catch_up: str = COALESCE
    catch_up_limit: int = 100
    catch_up_entries: Mapping[str, str] = field(default_factory=dict)
    token: str = ""

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Options:
        text = (os.environ if environ is None else environ).get(VARIABLE, "")
        try:
            document = json.loads(text) if text else {}
        except ValueError as exc:
            raise OptionsError(f"{VARIABLE} is not JSON: {exc}") from exc
        if not isinstance(document, dict):
            raise OptionsError(f"{VARIABLE} must be a JSON object, not {text}")
        unknown = sorted(set(document) - {one.name for one in fields(cls)})
        if unknown:
            raise OptionsError(
                f"{VARIABLE} has {', '.join(unknown)}, which this runtime does not know: "
                "deploy this host again"
            )
        options = cls(**document)
        problems = options.problems()
        if problems:
            raise OptionsError(f"{VARIABLE} cannot work: " + "; ".join(problems))
        return options

    def problems(self) -> list[str]:
        found = []
        if not _number(self.lease) or self.lease < MIN_LEASE:
            found.append(f"lease = {self.lease!r} must be a number of seconds from {MIN_LEASE:g} on")
        elif not _number(self.poll) or not 0 < self.poll <= self.lease:
            found.append(
                f"poll = {self.poll!r} must be a number of seconds, above 0 and up to lease = {self.lease:g}"
            )
        if not isinstance(self.catch_up_limit, int) or self.catch_up_limit < 1:
            found.append(f"catch_up_limit = {self.catch_up_limit!r} must be a whole number from 1 on")
        entries = self.catch_up_entries if isinstance(self.catch_up_entries, dict) else None
        if entries is None:
            found.append("catch_up_entries must map names of entries to policies")
        policies = {
            "catch_up": self.catch_up,
            **{f"catch_up_entries.{k}": v for k, v in (entries or {}).items()},
        }
        found += [
            f"{name} = {policy!r} must be one of {', '.join(POLICIES)}"
            for name, policy in policies.items()
            if policy not in POLICIES
        ]
        for name in ("scheduler", "token"):
            if not isinstance(getattr(self, name), str):
                found.append(f"{name} must be text")
        return found

    def policy(self, entry: str) -> str:
        return self.catch_up_entries.get(entry, self.catch_up)


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
