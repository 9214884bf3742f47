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
    assert report.proof_problems(info, WANTED, ANSWERED, beat=[]) == []


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
    (problem,) = report.proof_problems({"nodes": records, "beats": [BEAT]}, WANTED, ANSWERED, beat=[])
    assert says in problem


def test_what_is_wrong_with_beat_is_part_of_it():
    info = {"nodes": [node("default-1@h1")], "beats": [BEAT]}
    assert report.proof_problems(info, WANTED, ANSWERED, beat=["No beat sends."]) == ["No beat sends."]


def test_a_fleet_that_is_to_have_no_beat_has_none():
    info = {"nodes": [node("default-1@h1")], "beats": [BEAT]}
    (problem,) = report.proof_problems(info, WANTED, ANSWERED)
    assert "beat@h1 on h1 (pid 9) is a beat, and no host of the inventory" in problem
    assert report.proof_problems(dict(info, beats=[]), WANTED, ANSWERED) == []


def test_the_report_shows_who_sends_and_who_stands_by():
    def lease(host, state, epoch=0):
        return dict(BEAT, host=host, lease={"state": state, "epoch": epoch})

    beats = [lease("h3", "standby"), lease("h1", "holder", 7), lease("h2", "standby")]
    lines = report.fleet_report({"fleet": "shop", "beats": beats}).splitlines()
    assert lines[4:6] == ["beat     on h1, pid 9, release r1", "standby  h2, h3"]
    # The record of the one that had it before is a few seconds old.
    beats = [lease("h1", "holder", 6), lease("h2", "holder", 7)]
    lines = report.fleet_report({"fleet": "shop", "beats": beats}).splitlines()
    assert lines[4:6] == ["beat     on h2, pid 9, release r1", "standby  h1"]


def test_hosts_that_were_lost_are_named_and_their_nodes_not_judged():
    info = {"nodes": [node("default-1@h1")], "beats": []}
    (problem,) = report.proof_problems(info, WANTED, ANSWERED, ["h2", "h3"], [])
    assert "h2, h3" in problem
    shown = report.fleet_report(info, hidden=["h4"], lost=["h2"])
    assert "hidden   h4" in shown
    assert "LOST     h2" in shown


def test_a_queue_without_an_answer_is_named():
    info = {"nodes": [node("default-1@h1")], "beats": [BEAT]}
    answers = {"queues": {"celery": {"ok": True}, "ml": {"ok": False, "error": "no answer"}}}
    (problem,) = report.proof_problems(info, WANTED, answers, beat=[])
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
