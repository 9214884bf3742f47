# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A store that many processes read and add to at once."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Any


class Store:
    """Entries in a database that many processes read, and add to, at once. Each remembers what it has read.

    Nobody keeps a connection: a process that is forked must not use that of its parent. What cannot be read
    or written is compiled as ever.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.read = 0
        self.entries: dict[bytes, bytes] = {}
        self._ask("CREATE TABLE IF NOT EXISTS entries (id INTEGER PRIMARY KEY, key BLOB, value BLOB)")

    def add(self, key: bytes, value: bytes) -> None:
        self._ask("INSERT INTO entries (key, value) VALUES (?, ?)", key, value)
        self.entries[key] = value

    def refresh(self) -> None:
        """Read what has been added."""
        for number, key, value in self._ask("SELECT id, key, value FROM entries WHERE id > ?", self.read):
            self.read = number
            self.entries[key] = value

    def get(self, key: bytes) -> bytes | None:
        if key not in self.entries:
            self.refresh()
        return self.entries.get(key)

    def _ask(self, statement: str, *values: Any) -> list[Any]:
        with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(self.path)) as database:
            # The machine may lose it all when it loses power.
            database.execute("PRAGMA synchronous = OFF")
            with database:
                return database.execute(statement, values).fetchall()
        return []
