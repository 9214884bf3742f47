"""``python -m celeryops move``: what is asked on stdin, done by the mover, answered in JSON.

The question, for URLs with passwords must stand on no command line::

    {"action": "mark" | "reach" | "move" | "sweep",
     "from": PLACE, "to": PLACE, "others": [PLACE, ...], "abandon": false}

    PLACE = {"fleet": name, "url": broker URL, "options": its transport options,
             "results": result backend URL or "", "result_options": its transport options}
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import redis
from kombu.exceptions import OperationalError

from celeryops.move.mover import Mover
from celeryops.move.place import OWN_NAME, MoveError, Side, note
from celeryops.move.rules import BOOKS, Rules, result_prefix
from celeryops.redisclient import NotRedisError, close, connect

ACTIONS = ("mark", "reach", "move", "sweep")
_UNREACHABLE = (redis.RedisError, OperationalError, OSError)


def move(question: Mapping[str, Any]) -> dict[str, Any]:
    """Do what is asked.

    Returns:
        ``{"same": bool}`` and, after a move or a sweep, what `mover.Report` holds; ``"gone"`` is true when
        the old place did not answer and need not.

    Raises:
        MoveError: It cannot be done.
    """
    action = question["action"]
    if action not in ACTIONS:
        raise MoveError(f"action is {action!r}; it must be one of {', '.join(ACTIONS)}")
    here, there = question["from"], question["to"]
    with contextlib.ExitStack() as stack:
        if action == "mark":
            note(_old(stack, here, action), label(there))
            return {"same": False}
        new = _new(stack, there)
        try:
            old = _old(stack, here, action)
        except MoveError:
            if _stands_at(new, here):
                return {"same": True} if action == "reach" else _arrived_in_place(new, here)
            if action == "sweep" or question.get("abandon"):
                return {"same": False, "gone": True}
            raise
        if action == "reach":
            return {"same": False}
        note(old, new.label)
        rules = rules_for(here, there, _stands_at(new, here, old))
        if rules.nothing_to_do:
            answer = _arrived_in_place(new, here)
        else:
            others = [stack.enter_context(opened(one)) for one in question.get("others", ())]
            report = Mover(old, new, rules, others).run(sweep=action == "sweep")
            _rename_folders(new, here["fleet"])
            answer = {"same": False, "gone": False, **report.as_dict()}
        for pair in _results_apart(here, there):
            answer["keys"] = answer.get("keys", 0) + _copy_results(stack, *pair)
        return answer


def _rename_folders(new: Side, former: str) -> None:
    """The book of hosts names each host's folder of releases, which bears the fleet's name."""
    if former == new.fleet:
        return
    hosts = f"{new.prefix}{BOOKS}{new.fleet}:hosts"
    for host, text in new.client.hgetall(hosts).items():
        with contextlib.suppress(ValueError, TypeError, AttributeError):
            entry = json.loads(text)
            above, _, name = str(entry.get("opt_dir", "")).rpartition("/")
            if name == former:
                new.client.hset(hosts, host, json.dumps({**entry, "opt_dir": f"{above}/{new.fleet}"}))


def rules_for(here: Mapping[str, Any], there: Mapping[str, Any], same_database: bool) -> Rules:
    """The rules of a move between two places.

    With a prefix the results stand outside of it, in the same database unless a result backend is named.
    """
    old, new = prefix_of(here), prefix_of(there)
    beside = bool(old) and place_of(here.get("results") or here["url"]) == place_of(here["url"])
    return Rules(
        old,
        new,
        here["fleet"],
        there["fleet"],
        same_database,
        (result_prefix_of(here), result_prefix_of(there)) if beside and not same_database else None,
    )


def prefix_of(place: Mapping[str, Any]) -> str:
    return str((place.get("options") or {}).get("global_keyprefix") or "")


def result_prefix_of(place: Mapping[str, Any]) -> str:
    return result_prefix(str((place.get("result_options") or {}).get("global_keyprefix") or ""))


def place_of(url: str) -> str:
    """A URL without who logs in: two URLs that differ only in a password mean one place."""
    found = []
    for one in url.split(";"):
        parts = urlsplit(one)
        found.append(urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path or "/0", "", "")))
    return ";".join(found)


def label(place: Mapping[str, Any]) -> str:
    """A place in words, without a password."""
    prefix = prefix_of(place)
    return place_of(place["url"]) + (f" behind {prefix!r}" if prefix else "")


@contextlib.contextmanager
def opened(place: Mapping[str, Any]) -> Iterator[Side]:
    from celery import Celery

    app = Celery("celeryops", broker=place["url"], fixups=[], set_as_current=False)
    app.conf.broker_transport_options = dict(place.get("options") or {})
    client, prefix = connect(app)
    # Connections with a name, to tell our own from a producer's. Those that kombu has opened have none.
    for pool in (client.connection_pool, client.celeryops_connection[1].async_pool):  # type: ignore[attr-defined]
        pool.connection_kwargs["client_name"] = OWN_NAME
        pool.disconnect()
        pool.reset()
    try:
        client.ping()
        yield Side(client, prefix, place["fleet"], label(place))
    finally:
        close(client)


def _old(stack: contextlib.ExitStack, place: Mapping[str, Any], action: str) -> Side:
    try:
        return stack.enter_context(opened(place))
    except (*_UNREACHABLE, NotRedisError) as exc:
        raise MoveError(
            f"the fleet's queues are in {label(place)}, which does not answer: {_said(exc)}. Start that "
            "Redis, or make it reachable from this host, and deploy again. If it is gone for good with "
            "all that was queued, say so: -e celery_redis_abandon=true"
        ) from exc


def _said(exc: Exception) -> str:
    return str(exc).rstrip(".")


def _new(stack: contextlib.ExitStack, place: Mapping[str, Any]) -> Side:
    try:
        return stack.enter_context(opened(place))
    except (*_UNREACHABLE, NotRedisError) as exc:
        raise MoveError(
            f"the fleet's queues are wanted in {label(place)}, which does not answer: {_said(exc)}. Correct "
            "celery_broker_url, or start that Redis and make it reachable from this host, and deploy again"
        ) from exc


def _stands_at(new: Side, here: Mapping[str, Any], old: Side | None = None) -> bool:
    """Whether the new place is the old database: it holds the mark that was left there."""
    before = Side(new.client, prefix_of(here), here["fleet"], label(here))
    mark, came_from = new.client.hmget(before.key(), "mark", "from")
    if old is not None:
        return bool(mark) and mark == old.client.hget(old.key(), "mark")
    return bool(mark) and came_from.decode() == before.label


def _arrived_in_place(new: Side, here: Mapping[str, Any]) -> dict[str, Any]:
    new.client.delete(Side(new.client, prefix_of(here), here["fleet"], "").key())
    return {"same": True}


def _results_apart(
    here: Mapping[str, Any], there: Mapping[str, Any]
) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """The result backends, where they are Redis, are not the broker's database, and change their place."""
    old, new = here.get("results") or "", there.get("results") or ""
    both_redis = all(url.partition("://")[0] in ("redis", "rediss", "redis+socket") for url in (old, new))
    if both_redis and place_of(old) != place_of(new) and place_of(old) != place_of(here["url"]):
        yield tuple(  # type: ignore[misc]
            {
                "fleet": one["fleet"],
                "url": one["results"],
                "options": {},
                "result_options": one.get("result_options"),
            }
            for one in (here, there)
        )


def _copy_results(stack: contextlib.ExitStack, here: Mapping[str, Any], there: Mapping[str, Any]) -> int:
    """Copied, not moved: nobody can tell whose results are whose, and they expire by themselves."""
    new = stack.enter_context(opened(there))
    try:
        old = stack.enter_context(opened(here))
    except _UNREACHABLE:
        return 0
    rules = Rules("\0", "\0", results=(result_prefix_of(here), result_prefix_of(there)))
    return Mover(old, new, rules).copy()
