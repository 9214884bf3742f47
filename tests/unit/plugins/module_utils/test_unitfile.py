from __future__ import annotations

import re

import pytest
from ansible_collections.celeryops.fleet.plugins.module_utils.pools.unitfile import unit_command

TRICKY = [
    "/opt/celery/bin/celery",
    "-A",
    "shop.celery:app",
    "--queues=a b",
    "it's",
    'say "hi"',
    "back\\slash",
    "100%n",
    "$HOME ${HOME}",
    ";",
    "",
    "grüße",
    "a\tb",
    "#",
    "@x",
    "-",
]


def systemd_reads(line: str) -> list[str]:
    """Split an ExecStart= line after systemd.service(5): quotes, C escapes, specifiers, variables."""
    words: list[str] = []
    position = 0
    while position < len(line):
        if line[position] == " ":
            position += 1
            continue
        if line[position] == '"':
            match = re.compile(r'"((?:[^"\\]|\\.)*)"(?= |\Z)').match(line, position)
            assert match, line[position:]
            word = re.sub(r"\\(.)", r"\1", match.group(1))
        else:
            match = re.compile(r"""[^ "'\\]+""").match(line, position)
            assert match, line[position:]
            word = match.group()
            assert word != ";"
        position = match.end()
        assert not re.search(r"%(?!%)", word.replace("%%", ""))
        assert "$" not in word.replace("$$", "")
        words.append(word.replace("%%", "%").replace("$$", "$"))
    return words


def test_systemd_hands_over_the_same_arguments() -> None:
    assert systemd_reads(unit_command(TRICKY)) == TRICKY


def test_an_ordinary_command_stays_plain() -> None:
    argv = ["/opt/bin/celery", "-A", "shop.celery:app", "worker", "-n", "ml-1@w1", "--autoscale=8,1"]
    assert unit_command(argv) == " ".join(argv)


def test_line_breaks_are_refused() -> None:
    with pytest.raises(ValueError, match="line break"):
        unit_command(["celery", "a\nExecStartPre=x"])
