from __future__ import annotations

import re

from ansible_collections.celeryops.fleet.plugins.module_utils.fingerprint import fingerprint, plain


class Text(str):
    """Stands for the text types of Ansible."""


def test_is_sixteen_hexadecimal_digits() -> None:
    assert re.fullmatch(r"[0-9a-f]{16}", fingerprint({"a": 1}))


def test_order_of_keys_does_not_count_but_that_of_lists_does() -> None:
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert fingerprint(["a", "b"]) != fingerprint(["b", "a"])


def test_equal_values_of_other_types_are_equal() -> None:
    assert fingerprint({Text("a"): (Text("b"), 30.0)}) == fingerprint({"a": ["b", 30]})


def test_true_is_not_one() -> None:
    assert fingerprint(True) != fingerprint(1)


def test_is_stable() -> None:
    # It stands in running processes: another value for equal data would restart every fleet.
    assert fingerprint({"release": "1.4.0", "argv": ["worker", "-Q", "ä"]}) == "ccaddf07828e4525"


def test_plain_leaves_only_json() -> None:
    found = plain({Text("a"): Text("b"), 1: None})
    assert found == {"a": "b", "1": None}
    assert type(found["a"]) is str
