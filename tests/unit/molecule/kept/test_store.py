# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What one process adds the others read."""

from __future__ import annotations

from pathlib import Path

from kept.store import Store


def test_store_is_read_and_added_to_by_several(tmp_path: Path) -> None:
    one, other = Store(tmp_path / "store"), Store(tmp_path / "store")
    one.add(b"a", b"first")
    assert other.get(b"a") == b"first"
    other.add(b"a", b"second")
    one.refresh()
    assert one.entries == other.entries == {b"a": b"second"}
    assert Store(tmp_path / "store").get(b"b") is None


def test_a_store_that_cannot_be_read_keeps_nothing(tmp_path: Path) -> None:
    (tmp_path / "store").write_bytes(b"no database" * 99)
    store = Store(tmp_path / "store")
    store.add(b"a", b"first")
    assert store.get(b"a") == b"first"
    assert Store(tmp_path / "store").get(b"a") is None
