"""What counts as proof of a deploy, and what the operator is shown."""

import pytest
from ansible_collections.celeryops.fleet.plugins.module_utils import report


def node(name, fingerprint="aa", **more):
    return {"node": name, "fingerprint": fingerprint, "status": "ready", "pid": 7, "host": "h1", **more}


WANTED = [{"nodename": "default-1@h1", "fingerprint": "aa", "queues": ["celery"]}]
ANSWERED = {"queues": {"celery": {"ok": True}}}
BEAT = {"node": "beat@h1", "host": "h1", "pid": 9, "release": "r1"}


def test_a_fleet_as_wanted_has_no_problem():
    info = {"nodes": [node("default-1@h1")], "beats": [BEAT]}
    assert report.proof_problems(info, WANTED, 1, ANSWERED) == []


@pytest.mark.parametrize(
    "records, says",
    [
        ([], "default-1@h1 keeps no record"),
        ([node("other@h1")], "default-1@h1 keeps no record"),
        ([node("default-1@h1", fingerprint="bb")], "still runs settings bb, not aa"),
        ([node("default-1@h1", status="reconnecting")], "is reconnecting, not ready"),
    ],
)
def test_a_node_that_is_not_as_wanted_is_named(records, says):
    (problem,) = report.proof_problems({"nodes": records, "beats": [BEAT]}, WANTED, 1, ANSWERED)
    assert says in problem


@pytest.mark.parametrize(
    "wanted, beats, says",
    [
        (1, [], "No beat keeps a record"),
        (1, [BEAT, dict(BEAT, host="h2")], "2 beats run, 1 should: beat@h1 on h1 (pid 9), beat@h1 on h2"),
        (0, [BEAT], "1 beats run, 0 should"),
    ],
)
def test_a_wrong_number_of_beats_is_named(wanted, beats, says):
    (problem,) = report.beat_problems(wanted, beats)
    assert says in problem


def test_a_beat_on_a_host_that_was_left_out_may_be_anywhere_but_not_twice():
    assert report.beat_problems(1, [], seen=False) == []
    (problem,) = report.beat_problems(1, [BEAT, dict(BEAT, host="h2")], seen=False)
    assert "2 beats run" in problem


def test_hosts_that_were_lost_are_named_and_their_nodes_not_judged():
    info = {"nodes": [node("default-1@h1")], "beats": []}
    (problem,) = report.proof_problems(info, WANTED, 1, ANSWERED, lost=["h2", "h3"], beat_seen=False)
    assert "h2, h3" in problem
    shown = report.fleet_report(info, hidden=["h4"], lost=["h2"])
    assert "hidden   h4" in shown
    assert "LOST     h2" in shown


def test_a_queue_without_an_answer_is_named():
    info = {"nodes": [node("default-1@h1")], "beats": [BEAT]}
    answers = {"queues": {"celery": {"ok": True}, "ml": {"ok": False, "error": "no answer"}}}
    (problem,) = report.proof_problems(info, WANTED, 1, answers)
    assert problem == "The canary task in queue ml has not come back: no answer."


def test_the_report_shows_every_node_beat_and_flower():
    info = {
        "fleet": "shop",
        "nodes": [
            node("ml-1@h1", pool="ml", queues=["ml"], processes=1, release="r1"),
            node(
                "default-1@h1",
                pool="default",
                queues=["celery", "mail"],
                processes=1,
                autoscale={"min": 1, "max": 4},
            ),
        ],
        "beats": [BEAT],
        "problems": ["ml-1@h1 does not answer"],
    }
    flower = {"url": "http://127.0.0.1:5555", "user": "admin", "password_file": "/etc/x"}
    text = report.fleet_report(info, flower)
    lines = text.splitlines()
    assert lines[0] == "Fleet shop"
    assert lines[3].split()[:6] == ["default-1@h1", "h1", "7", "default", "celery,mail", "1"]
    assert "1 of 1..4" in lines[3]
    assert lines[4].startswith("ml-1@h1")
    assert lines[6:10] == [
        "QUEUE   CONSUMERS",
        "celery  default on h1",
        "mail    default on h1",
        "ml      ml on h1",
    ]
    assert "beat     on h1, pid 9, release r1" in lines
    assert "Flower   http://127.0.0.1:5555  user admin, password in /etc/x" in lines
    assert lines[-1] == "PROBLEM  ml-1@h1 does not answer"


def test_the_report_of_an_empty_fleet_says_so():
    text = report.fleet_report({"fleet": "shop", "nodes": [], "beats": []})
    assert "No worker node keeps a record" in text
    assert "beat     none" in text


def test_the_report_ends_with_what_to_try_next():
    hints = [{"command": "a", "shows": "first"}, {"command": "long", "shows": "second"}]
    lines = report.fleet_report({"fleet": "shop"}, hints=hints).splitlines()
    assert lines[-3:] == ["Try next:", "  a     first", "  long  second"]


@pytest.mark.parametrize(
    "user, password_file, says",
    [
        ("admin", "/etc/x", "user admin, password in /etc/x"),
        ("admin", "", "user admin, password as the inventory gives it"),
        ("", "", "no login"),
    ],
)
def test_the_report_says_how_to_log_in(user, password_file, says):
    flower = {"url": "http://127.0.0.1:5555", "user": user, "password_file": password_file}
    lines = report.fleet_report({"fleet": "shop"}, flower).splitlines()
    assert f"Flower   http://127.0.0.1:5555  {says}" in lines
