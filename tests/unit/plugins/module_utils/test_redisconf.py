"""Configuration of Redis as data."""

from __future__ import annotations

import pytest
from ansible_collections.celeryops.fleet.plugins.module_utils.redis import conf as redisconf


@pytest.mark.parametrize(
    "text, args",
    [
        ("", []),
        ("  save  3600 1 ", ["save", "3600", "1"]),
        ('requirepass "with space"', ["requirepass", "with space"]),
        (r'requirepass "a\"b\\c\x41\n"', ["requirepass", 'a"b\\cA\n']),
        (r"requirepass 'it\'s \n'", ["requirepass", r"it's \n"]),
        ('save ""', ["save", ""]),
    ],
)
def test_splits_as_redis_does(text: str, args: list[str]) -> None:
    assert redisconf.split_args(text) == args


@pytest.mark.parametrize("text", ['a "b', "a 'b", 'a "b"c'])
def test_refuses_quotes_that_do_not_match(text: str) -> None:
    with pytest.raises(redisconf.ConfError, match="quote"):
        redisconf.split_args(text)


@pytest.mark.parametrize(
    "value", ["plain", "", "with space", 'quo"te', "back\\slash", "#hash", "tab\there", "ü", "it's"]
)
def test_what_is_quoted_reads_back(value: str) -> None:
    text = redisconf.render({"requirepass": [[value]]})
    assert redisconf.parse(text) == {"requirepass": [[value]]}


def test_a_line_break_cannot_be_smuggled_in() -> None:
    with pytest.raises(redisconf.ConfError, match="line break"):
        redisconf.render({"requirepass": [["x\nport 1"]]})


@pytest.mark.parametrize(
    "value, lines",
    [
        (True, [["yes"]]),
        (False, [["no"]]),
        (5, [["5"]]),
        ("", [[""]]),
        ("pubsub 64mb 32mb 60", [["pubsub", "64mb", "32mb", "60"]]),
        (["900 1", "300 10"], [["900", "1"], ["300", "10"]]),
    ],
)
def test_values_of_a_playbook(value: object, lines: list[list[str]]) -> None:
    assert redisconf.as_lines(value) == lines


def test_parse_takes_the_last_of_what_replaces_and_all_of_what_adds() -> None:
    text = "# port 1\nPORT 2\nport 3\nsave 900 1\nsave 300 10\nbroken 'line\n"
    assert redisconf.parse(text) == {"port": [["3"]], "save": [["900", "1"], ["300", "10"]]}


def test_render_is_stable() -> None:
    first = redisconf.render({"port": [["1"]], "bind": [["127.0.0.1", "-::1"]]}, ["ours"])
    assert first == "# ours\nbind 127.0.0.1 -::1\nport 1\n"


@pytest.mark.parametrize(
    "name, wanted, running, same",
    [
        ("maxmemory", [["100mb"]], "104857600", True),
        ("maxmemory", [["100m"]], "100000000", True),
        ("maxmemory", [["100m"]], "104857600", False),
        ("maxmemory-policy", [["NoEviction"]], "noeviction", True),
        ("logfile", [["/Var/log"]], "/var/log", False),
        ("save", [["900", "1"], ["300", "10"]], "900 1 300 10", True),
        ("save", [[""]], "", True),
        ("save", [[""]], "900 1", False),
        ("bind", [["127.0.0.1", "-::1"]], "127.0.0.1 -::1", True),
        ("bind", [["127.0.0.1"]], "127.0.0.1 -::1", False),
        ("requirepass", [["1k"]], "1000", False),
        ("requirepass", [["Word"]], "word", False),
        ("requirepass", [["two words"]], "two words", True),
        ("dir", [["/with space"]], "/with space", True),
        ("notify-keyspace-events", [["KEA"]], "AKE", True),
        ("notify-keyspace-events", [["KEx"]], "xKE", True),
        ("notify-keyspace-events", [["KEx"]], "AKE", False),
        (
            "client-output-buffer-limit",
            [["pubsub", "64mb", "32mb", "60"]],
            "normal 0 0 0 slave 268435456 67108864 60 pubsub 67108864 33554432 60",
            True,
        ),
        (
            "client-output-buffer-limit",
            [["replica", "256mb", "64mb", "60"]],
            "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60",
            True,
        ),
        (
            "client-output-buffer-limit",
            [["pubsub", "64mb", "32mb", "60"]],
            "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60",
            False,
        ),
    ],
)
def test_compares_with_what_config_get_says(
    name: str, wanted: list[list[str]], running: str, same: bool
) -> None:
    assert redisconf.same(name, wanted, running) is same


RUNNING = {
    "port": "6379",
    "databases": "16",
    "maxmemory": "0",
    "unixsocketperm": "0",
    "loglevel": "notice",
}


def compare(
    wanted: dict[str, list[list[str]]],
    written: dict[str, list[list[str]]] | None = None,
    loaded: bool = False,
    version: tuple[int, ...] = (7, 0, 15),
) -> redisconf.Difference:
    return redisconf.difference(wanted, RUNNING, version, written or {}, loaded)


def test_nothing_differs() -> None:
    assert compare({"port": [["6379"]], "databases": [["16"]]}) == ([], [], [])


def test_what_can_change_live_and_what_cannot() -> None:
    assert compare({"maxmemory": [["1gb"]], "databases": [["4"]], "port": [["1"]]}) == (
        ["maxmemory", "port"],
        ["databases"],
        [],
    )


def test_a_directive_the_server_does_not_know() -> None:
    assert compare({"maxmemoree": [["1"]]}).unknown == ["maxmemoree"]


def test_what_leaves_the_file_needs_a_restart() -> None:
    assert compare({}, written={"loglevel": [["notice"]]}).restart == ["loglevel"]


def test_what_was_loaded_as_wanted_is_in_force_however_it_is_spelt() -> None:
    wanted = {"unixsocketperm": [["700"]], "loadmodule": [["/x.so"]]}
    assert compare(wanted, written=wanted, loaded=True) == ([], [], [])
    assert compare(wanted, written=wanted, loaded=False).restart == ["loadmodule", "unixsocketperm"]
    assert compare(wanted, written={}, loaded=True).restart == ["loadmodule", "unixsocketperm"]


def test_the_version_decides_what_only_a_start_reads() -> None:
    assert redisconf.starts_only("dir", (7, 0)) and not redisconf.starts_only("dir", (6, 2, 14))
    assert redisconf.starts_only("io-threads", (7, 0)) and not redisconf.starts_only("io-threads", (9, 1, 2))
    assert not redisconf.starts_only("port", (6, 2))


MAIN = "port 6379\n# include /etc/redis/ours.conf\nsave 900 1\n"
OURS = "/etc/redis/ours.conf"


def test_include_comes_last_and_once() -> None:
    text = redisconf.with_include(MAIN, OURS)
    assert text == MAIN + f"include {OURS}\n"
    assert redisconf.has_include_last(text, OURS)
    assert redisconf.with_include(text, OURS) == text
    assert redisconf.without_include(text, OURS) == MAIN


def test_what_redis_appended_behind_the_include_no_longer_wins() -> None:
    rewritten = redisconf.with_include(MAIN, OURS) + "# Generated by CONFIG REWRITE\nmaxmemory 5\n"
    assert not redisconf.has_include_last(rewritten, OURS)
    text = redisconf.with_include(rewritten, OURS)
    assert text.endswith(f"maxmemory 5\ninclude {OURS}\n") and text.count(f"\ninclude {OURS}") == 1


def test_other_includes_and_a_missing_last_newline_stay() -> None:
    assert redisconf.without_include("include /other.conf\nport 1", OURS) == "include /other.conf\nport 1"
    assert redisconf.with_include("include /other.conf\nport 1", OURS).startswith(
        "include /other.conf\nport 1\n"
    )


def test_secrets_are_hidden_in_diffs() -> None:
    text = redisconf.masked('requirepass "s3cret word"\n  masterauth s3cret\nport 1\n# requirepass is ours\n')
    assert "s3cret" not in text
    assert "port 1" in text and "# requirepass is ours" in text


@pytest.mark.parametrize(
    "addresses, only",
    [
        (["127.0.0.1", "-::1"], True),
        (["localhost"], True),
        (["127.8.8.8"], True),
        (["0.0.0.0"], False),
        (["*"], False),
        (["127.0.0.1", "10.0.0.5"], False),
        (["127.example.org"], False),
        ([], False),
    ],
)
def test_loopback_only(addresses: list[str], only: bool) -> None:
    assert redisconf.loopback_only(addresses) is only


@pytest.mark.parametrize(
    "addresses, where",
    [
        (["10.0.0.5", "127.0.0.1"], "127.0.0.1"),
        (["10.0.0.5"], "10.0.0.5"),
        (["0.0.0.0"], "127.0.0.1"),
        (["*", "-::*"], "127.0.0.1"),
        (["-::1"], "::1"),
        (["::"], "::1"),
    ],
)
def test_connect_address(addresses: list[str], where: str) -> None:
    assert redisconf.connect_address(addresses) == where


@pytest.mark.parametrize(
    "text, version",
    [
        ("Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=1", (7, 0, 15)),
        ("Valkey server v=9.1.2 sha=00000000:1 malloc=libc bits=64 build=1", (9, 1, 2)),
        ("redis_version:6.2.14", (6, 2, 14)),
        ("5:6.0.16-1+deb11u2", (6, 0, 16)),
        ("8.1.1+dfsg1-3", (8, 1, 1)),
        ("(none)", ()),
    ],
)
def test_version_of(text: str, version: tuple[int, ...]) -> None:
    assert redisconf.version_of(text) == version
