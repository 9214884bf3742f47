"""Where hosts are."""

from __future__ import annotations

from ansible_collections.celeryops.fleet.plugins.filter.hosts import host_places


def test_places() -> None:
    hostvars = {
        "w1": {"celery_prefix": "", "ansible_facts": {"machine_id": "m1"}},
        "w2": {"celery_prefix": "/srv/shop"},
        "w3": {"celery_opt_dir": "/data/celery"},
    }
    assert host_places(["w1", "w2", "w3"], hostvars, "shop") == [
        {"host": "w1", "machine": "m1", "opt_dir": "/opt/celery/shop"},
        {"host": "w2", "machine": "", "opt_dir": "/srv/shop/opt/celery/shop"},
        {"host": "w3", "machine": "", "opt_dir": "/data/celery"},
    ]
