"""The book of hosts held against an inventory."""

from __future__ import annotations

import json

import pytest
from ansible_collections.celeryops.fleet.plugins.module_utils.hosts import book as hostbook
from ansible_collections.celeryops.fleet.plugins.module_utils.hosts.book import Book, Entry, Place

ALL = ("w1", "w2", "w3")


def book(**hosts: str) -> Book:
    return {host: Entry(frozenset(roles.split())) for host, roles in hosts.items()}


def wanted(**hosts: str) -> dict[str, frozenset[str]]:
    return {host: frozenset(roles.split()) for host, roles in hosts.items()}


def problems(
    known: Book,
    inventory: dict[str, frozenset[str]],
    hosts: tuple[str, ...] = ALL,
    places: dict[str, Place] | None = None,
    alive: tuple[str, ...] = (),
    forget: tuple[str, ...] = (),
) -> list[str]:
    judgement = hostbook.judge(known, inventory, hosts, forget)
    return hostbook.problems("shop", known, judgement, places or {}, alive, forget)


def test_roles_by_host() -> None:
    groups = {"redis": ["w1"], "worker": ["w1", "w2"], "beat": []}
    assert hostbook.members(groups) == wanted(w1="redis worker", w2="worker")


@pytest.mark.parametrize(
    "known, inventory, leaving",
    [
        (book(), wanted(w1="worker"), {}),
        (book(w1="worker"), wanted(w1="worker beat"), {}),
        (book(w1="worker beat"), wanted(w1="worker"), {"w1": ["beat"]}),
        (book(w1="flower redis worker"), wanted(), {"w1": ["redis", "worker", "flower"]}),
        (book(w1="beat worker", w2="worker"), wanted(w1="worker", w2="worker beat"), {"w1": ["beat"]}),
        (book(w1="beat"), wanted(), {"w1": ["beat"]}),
        ({"w1": Entry(frozenset())}, wanted(), {"w1": []}),
    ],
    ids=["first", "joins", "loses one", "loses all", "beats change places", "no beat any more", "unreadable"],
)
def test_who_leaves(known: Book, inventory: dict[str, frozenset[str]], leaving: dict[str, list[str]]) -> None:
    assert hostbook.judge(known, inventory, ALL).leaving == leaving
    assert problems(known, inventory) == []


def test_a_host_that_the_inventory_does_not_name_is_lost() -> None:
    known = book(w1="worker", w9="worker beat")
    [problem] = problems(known, wanted(w1="worker"))
    assert "w9 (worker, beat)" in problem and "w1" not in problem
    assert "celery_app_name" in problem and "outside the groups" in problem
    assert """-e '{"celery_forget_hosts": ["w9"]}'""" in problem


def test_a_host_that_is_gone_for_good_is_forgotten() -> None:
    known, inventory = book(w1="worker", w9="worker"), wanted(w1="worker")
    assert problems(known, inventory, forget=("w9",)) == []
    assert hostbook.joined(known, inventory, ALL, {}, ("w9",)) == book(w1="worker")


def test_a_member_cannot_be_forgotten_but_begins_anew() -> None:
    known, inventory = book(w1="worker flower"), wanted(w1="worker")
    assert hostbook.joined(known, inventory, ALL, {}, ("w1",)) == book(w1="worker")


def test_two_fleets_of_one_name_whose_beats_would_share_a_lease() -> None:
    [problem] = problems(book(w1="beat", w9="beat"), wanted(w1="beat"))
    assert "w9 (beat)" in problem and "another inventory deploys a fleet of the same name" in problem


def test_a_beat_without_a_lease_that_limit_hides_does_not_get_a_second_one() -> None:
    [problem] = hostbook.older_beats({"w1"}, ["w2", "w3"], ("w2", "w3"))
    assert "w1 has a beat of an older release" in problem and "--limit hides w1" in problem
    assert "w2, w3" in problem
    assert hostbook.older_beats({"w1"}, ["w1", "w2"], ALL) == []
    # Whoever starts no beat may go on.
    assert hostbook.older_beats({"w1"}, [], ("w2",)) == []


def test_hosts_on_which_an_earlier_version_could_have_run_beat_run_it() -> None:
    assert hostbook.parse({"w1": '{"roles": ["standby", "worker"]}'}) == book(w1="beat worker")


def test_another_folder_is_another_fleet_or_an_orphan() -> None:
    known = {"w1": Entry(frozenset(["worker"]), Place("m1", "/opt/celery/shop"))}
    here = {"w1": Place("m1", "/srv/a/opt/celery/shop")}
    [problem] = problems(known, wanted(w1="worker"), places=here)
    assert "under /opt/celery/shop" in problem and "/srv/a/opt/celery/shop" in problem
    assert problems(known, wanted(w1="worker"), places=here, forget=("w1",)) == []


def test_another_machine_is_refused_while_the_old_one_works() -> None:
    known = {"w1": Entry(frozenset(["worker"]), Place("m1", "/opt"))}
    here = {"w1": Place("m2", "/opt")}
    [problem] = problems(known, wanted(w1="worker"), places=here, alive=("w1",))
    assert "another machine that is called w1" in problem
    assert problems(known, wanted(w1="worker"), places=here) == []
    assert hostbook.joined(known, wanted(w1="worker"), ALL, here)["w1"].place == Place("m2", "/opt")


def test_joined_keeps_what_is_there_and_what_is_hidden() -> None:
    known, inventory = book(w1="worker", w2="flower"), wanted(w1="beat", w2="worker", w3="worker")
    after = hostbook.joined(known, inventory, ("w1", "w3"), {})
    assert after == book(w1="worker beat", w2="flower", w3="worker")


def test_settled_strikes_out_only_what_was_done() -> None:
    known, inventory = book(w1="worker beat", w2="flower", w3="worker"), wanted(w1="beat")
    assert hostbook.settled(known, inventory, ["w1", "w2"]) == book(w1="beat", w3="worker")
    assert hostbook.settled(known, inventory, []) == known


def test_several_books_are_one() -> None:
    new = {"w1": Entry(frozenset(["worker"]), Place("m1", "/a"))}
    old = {"w1": Entry(frozenset(["redis"]), Place("m0", "/b")), "w2": Entry(frozenset(["worker"]))}
    assert hostbook.merged([new, old]) == {
        "w1": Entry(frozenset(["redis", "worker"]), Place("m1", "/a")),
        "w2": Entry(frozenset(["worker"])),
    }


def test_what_is_written_is_read() -> None:
    entry = Entry(frozenset(["worker", "beat"]), Place("m1", "/opt"))
    assert json.loads(hostbook.text_of(entry)) == {
        "roles": ["beat", "worker"],
        "machine": "m1",
        "opt_dir": "/opt",
    }
    assert hostbook.parse({"w1": hostbook.text_of(entry)}) == {"w1": entry}
    assert hostbook.parse({"w1": hostbook.text_of(Entry(frozenset()))}) == {"w1": Entry(frozenset())}


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"roles": 1}', "null"])
def test_what_cannot_be_read_is_somebody(text: str) -> None:
    assert hostbook.parse({"w1": text}) == {"w1": Entry(frozenset())}


def test_lines_for_a_diff() -> None:
    assert hostbook.lines(book(w2="worker", w1="beat redis")) == "w1: redis, beat\nw2: worker\n"
