from __future__ import annotations

import json
from typing import Any


def test_a_healthy_application(grove: Any) -> None:
    grove.settings(broker_transport_options={"global_keyprefix": "grove:"}, worker_prefetch_multiplier=2)
    for command in (
        ["celery", "-A", "grove", "fleet", "check", "--json"],
        ["celeryops", "check", "grove:app", "--json"],
    ):
        report = json.loads(grove.run(*command).stdout)
        assert report["ok"] is True
        assert report["app"] == "grove"
        assert report["tasks"] == ["grove.nap", "grove.touch"]
        assert report["queues"] == ["elm", "oak"]
        assert report["default_queue"] == "oak"
        assert report["scheduled"] == ["often"]
        assert report["global_keyprefix"] == "grove:"
        assert report["warnings"] == report["errors"] == []
        settings = {item["setting"]: item for item in report["settings"]}
        assert settings["worker_prefetch_multiplier"]["source"] == "override"
        assert settings["task_acks_late"]["source"] == "default"


def test_a_broken_application_shows_its_own_traceback(grove: Any) -> None:
    (grove.folder / "broken.py").write_text(
        "from celery import Celery\napp = Celery('b')\nimport no_such_module\n"
    )
    result = grove.run("celeryops", "check", "broker_typo_is_no_matter_here", "--json", check=False)
    assert result.returncode != 0
    result = grove.run("celeryops", "check", "broken:app", "--json", check=False)
    assert result.returncode != 0
    assert 'broken.py", line 3' in result.stderr
    assert "No module named 'no_such_module'" in result.stderr
    assert result.stdout == ""


def test_a_broken_task_module_shows_its_own_traceback(grove: Any) -> None:
    (grove.folder / "half.py").write_text(
        "from celery import Celery\napp = Celery('h', include=['half_tasks'])\n"
    )
    (grove.folder / "half_tasks.py").write_text("1 / 0\n")
    result = grove.run("celeryops", "check", "half:app", "--json", check=False)
    assert result.returncode != 0
    assert 'half_tasks.py", line 1' in result.stderr


def test_an_application_with_its_own_loader(grove: Any) -> None:
    (grove.folder / "own.py").write_text(
        "from celery import Celery\napp = Celery('o', loader='celery.loaders.app:AppLoader')\n"
    )
    result = grove.run("celeryops", "check", "own:app", "--json", check=False)
    assert result.returncode == 1
    (error,) = json.loads(result.stdout)["errors"]
    assert "celery.loaders.app:AppLoader" in error and "drop loader=" in error


def test_outside_the_fleets_environment(grove: Any) -> None:
    result = grove.run("celeryops", "check", "grove:app", "--json", check=False, CELERY_LOADER="")
    assert result.returncode == 1
    assert "environment file" in json.loads(result.stdout)["errors"][0]


def test_warnings_and_another_broker(grove: Any) -> None:
    grove.settings(
        task_time_limit=9000, broker_transport_options={"visibility_timeout": 60}, task_acks_lat=True
    )
    report = json.loads(grove.run("celeryops", "check", "grove:app", "--json").stdout)
    text = "\n".join(report["warnings"])
    assert "task_time_limit is 9000 s" in text
    assert "task_acks_lat is not a setting" in text
    assert "global_keyprefix 'grove:'" in text
    other = grove.run(
        "celeryops", "check", "grove:app", "--json", check=False, CELERY_BROKER_URL="amqp://u:hush@h//"
    )
    assert other.returncode == 1
    assert "is not Redis" in json.loads(other.stdout)["errors"][0]
    assert "hush" not in other.stdout


def test_a_pool_whose_tasks_outlive_the_visibility_timeout_of_the_application(grove: Any) -> None:
    (grove.folder / "brief.py").write_text(
        "from grove import app\napp.conf.broker_transport_options = {'visibility_timeout': 600}\n"
    )
    path = grove.folder / "settings.json"
    for longest, code in ((599, 0), (1800, 1)):
        path.write_text(json.dumps({"settings": {}, "longest_task": longest}))
        result = grove.run(
            "celeryops", "check", "brief:app", "--json", check=False, CELERYOPS_SETTINGS=str(path)
        )
        assert result.returncode == code, result.stdout
    (error,) = json.loads(result.stdout)["errors"]
    assert "1800 s (time_limit)" in error
    assert "visibility timeout of 600 s" in error
    assert "celery_settings.broker_transport_options.visibility_timeout" in error


def test_for_people(grove: Any) -> None:
    text = grove.run("celery", "-A", "grove", "fleet", "check").stdout
    assert "task_acks_late = True" in text
