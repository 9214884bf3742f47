"""Where the distribution's server is looked for."""

from __future__ import annotations

from typing import Any

from ansible_collections.celeryops.fleet.plugins.module_utils.redis import service
from ansible_collections.celeryops.fleet.plugins.module_utils.redis import session as redis_session


def test_a_server_as_its_package_left_it_is_found_where_it_is_not_wanted(tmp_path, monkeypatch):
    main = tmp_path / "redis.conf"
    main.write_text("bind 127.0.0.1 -::1\nport 6379\n")
    params = {
        "config": str(tmp_path / "celeryops.conf"),
        "main_config": str(main),
        "service": "redis-server",
        "bind": ["10.0.0.11"],
        "port": 6380,
        "password": "secret",
        "password_file": None,
    }
    asked: list[tuple[str, int]] = []

    def find(endpoints: list[tuple[str, int]], *_others: Any) -> redis_session.Found:
        asked.extend(endpoints)
        return redis_session.Found(None, False)

    monkeypatch.setattr(redis_session, "find", find)

    service.Service(params, check_mode=True).find()

    assert asked[0] == ("10.0.0.11", 6380)
    assert ("127.0.0.1", 6379) in asked
