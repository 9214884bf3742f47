"""The overlay on real applications, in every spelling that Celery understands."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import celery
import celeryops
import pytest
from celery.exceptions import ImproperlyConfigured
from celeryops import settings
from celeryops.loader import FleetLoader
from celeryops.overlay import Overlay

URL = "redis://127.0.0.1:1/0"


def make_app(**options: Any) -> celery.Celery:
    return celery.Celery(
        "shop", broker=URL, backend=URL, loader=FleetLoader, set_as_current=False, fixups=[], **options
    )


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "CELERYOPS_SETTINGS",
        "CELERYOPS_NODE_SETTINGS",
        "CELERY_BROKER_URL",
        "CELERY_RESULT_BACKEND",
    ):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def overrides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    def write(**chosen: Any) -> None:
        path = tmp_path / "settings.json"
        path.write_text(json.dumps({"settings": chosen}))
        monkeypatch.setenv("CELERYOPS_SETTINGS", str(path))

    return write


def test_defaults_reach_the_configuration() -> None:
    conf = make_app().conf
    assert conf.task_acks_late is True
    assert conf.worker_prefetch_multiplier == 1
    assert conf.broker_transport_options["visibility_timeout"] == 3600
    assert conf.result_backend_transport_options["visibility_timeout"] == 3600
    assert conf.visibility_timeout == 3600


def test_a_fixup_may_make_the_loader_before_the_application_is_whole() -> None:
    app = celery.Celery(
        "shop", broker=URL, loader=FleetLoader, set_as_current=False, fixups=[lambda app: app.loader]
    )
    assert app.conf.task_acks_late is True
    assert app.steps["worker"] == {"celeryops.steps:MemberStep"}


def test_the_loader_imports_nothing_that_gevent_must_patch_first() -> None:
    def imported(loader: str) -> set[str]:
        code = f"import sys, celery; app = celery.Celery(broker={URL!r}, loader={loader!r}); "
        code += "app.conf.task_acks_late; print(*sys.modules)"
        environment = {**os.environ, "PYTHONPATH": str(Path(celeryops.__file__).parents[1])}
        command = [sys.executable, "-c", code]
        return set(subprocess.run(command, env=environment, capture_output=True, text=True).stdout.split())

    ours = imported("celeryops.loader:FleetLoader")
    assert "celeryops.overlay" in ours
    new = {name.partition(".")[0] for name in ours - imported("celery.loaders.app:AppLoader")}
    assert not {"redis", "ssl", "socket", "select", "threading"} & new


def _new_names(app: celery.Celery) -> None:
    app.config_from_object({"task_acks_late": False, "broker_transport_options": {"sep": ":"}})


def _old_names(app: celery.Celery) -> None:
    app.config_from_object({"CELERY_ACKS_LATE": False, "BROKER_TRANSPORT_OPTIONS": {"sep": ":"}})


def _django_namespace(app: celery.Celery) -> None:
    module = types.SimpleNamespace(
        CELERY_TASK_ACKS_LATE=False, CELERY_BROKER_TRANSPORT_OPTIONS={"sep": ":"}, DEBUG=True
    )
    app.config_from_object(module, namespace="CELERY")


def _assigned(app: celery.Celery) -> None:
    app.conf.task_acks_late = False
    app.conf.broker_transport_options = {"sep": ":"}


def _assigned_in_the_namespace(app: celery.Celery) -> None:
    app.namespace = "CELERY"
    app.conf.update(CELERY_TASK_ACKS_LATE=False, CELERY_BROKER_TRANSPORT_OPTIONS={"sep": ":"})


def _added_defaults(app: celery.Celery) -> None:
    app.add_defaults({"task_acks_late": False, "broker_transport_options": {"sep": ":"}})


SPELLINGS = [
    _new_names,
    _old_names,
    _django_namespace,
    _assigned,
    _assigned_in_the_namespace,
    _added_defaults,
]


@pytest.mark.parametrize("configure", SPELLINGS)
def test_what_the_application_sets_stays(configure: Any) -> None:
    app = make_app()
    configure(app)
    assert app.conf.task_acks_late is False
    assert app.conf.broker_transport_options["sep"] == ":"
    assert app.conf.broker_transport_options["socket_timeout"] == 30
    assert app.conf.worker_prefetch_multiplier == 1


@pytest.mark.parametrize("configure", SPELLINGS)
def test_the_inventory_wins_over_the_application(configure: Any, overrides: Any) -> None:
    overrides(task_acks_late=True, broker_transport_options={"sep": "|"}, task_time_limit=10)
    app = make_app()
    configure(app)
    assert app.conf.task_acks_late is True
    assert app.conf.broker_transport_options["sep"] == "|"
    assert app.conf.broker_transport_options["socket_timeout"] == 30
    assert app.conf.task_time_limit == 10


def test_assignments_after_the_first_reading(overrides: Any) -> None:
    overrides(worker_prefetch_multiplier=3)
    app = make_app()
    assert app.conf.task_acks_late is True
    app.conf.task_acks_late = False
    app.conf.worker_prefetch_multiplier = 9
    app.conf.broker_transport_options = {"global_keyprefix": "late:"}
    app.loader.import_default_modules()
    assert app.conf.task_acks_late is False
    assert app.conf.worker_prefetch_multiplier == 3
    assert app.conf.broker_transport_options["global_keyprefix"] == "late:"
    assert app.conf.broker_transport_options["socket_timeout"] == 30


def test_a_second_configuration_is_not_mistaken_for_the_first() -> None:
    app = make_app()
    app.conf.broker_transport_options = {"sep": ":"}
    assert app.conf.task_acks_late is True
    app.config_from_object({"task_acks_late": False, "broker_transport_options": {"sep": "|"}})
    assert app.conf["task_acks_late"] is False
    # An assignment stands above an object, as it does in Celery.
    assert app.conf["broker_transport_options"]["sep"] == ":"


def test_the_longest_task_of_any_pool_fits_into_the_visibility_timeout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "settings.json"
    path.write_text('{"settings": {}, "longest_task": 7200}')
    monkeypatch.setenv("CELERYOPS_SETTINGS", str(path))
    conf = make_app().conf
    assert conf.broker_transport_options["visibility_timeout"] == conf.visibility_timeout == 14400


ROUTES = [{"task": "shop.pack*", "queue": "ml", "priority": None}, {"task": "shop.*", "queue": "mail"}]


@pytest.mark.parametrize(
    "own",
    [None, {"shop.pack": "own", "other": "own"}, ({"other": {"queue": "own"}},), [lambda *_, **__: "own"]],
)
def test_routes_of_the_inventory_come_before_those_of_the_application(
    own: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "settings.json"
    path.write_text(json.dumps({"settings": {}, "routes": ROUTES}))
    monkeypatch.setenv("CELERYOPS_SETTINGS", str(path))
    app = make_app()
    app.conf.task_routes = own
    for _ in range(2):
        app.loader.import_default_modules()
        assert app.conf.task_routes[0] == {"shop.pack*": {"queue": "ml"}, "shop.*": {"queue": "mail"}}
        queues = [app.amqp.router.route({}, name)["queue"].name for name in ("shop.pack", "shop.x", "other")]
        assert queues == ["ml", "mail", "own" if own else "celery"]
    assert json.dumps(app.loader.overlay.report())


def test_without_routes_those_of_the_application_stay(overrides: Any) -> None:
    overrides()
    app = make_app()
    app.conf.task_routes = own = {"other": "own"}
    assert app.conf.task_acks_late is True
    assert app.conf.task_routes is own


def test_one_node_may_differ(overrides: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    overrides(worker_send_task_events=True, task_time_limit=10)
    monkeypatch.setenv("CELERYOPS_NODE_SETTINGS", '{"settings": {"worker_send_task_events": false}}')
    conf = make_app().conf
    assert conf.worker_send_task_events is False
    assert conf.task_time_limit == 10


@pytest.mark.parametrize("content", ["{", '["a"]', '{"settings": 3}', '{"routes": ["a"]}', None])
def test_unreadable_settings_stop_the_worker(
    content: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "settings.json"
    if content is not None:
        path.write_text(content)
    monkeypatch.setenv("CELERYOPS_SETTINGS", str(path))
    app = make_app()
    with pytest.raises(ImproperlyConfigured, match=r"settings\.json"):
        app.loader.import_default_modules()


def test_the_report_hides_secrets_and_names_reasons(overrides: Any) -> None:
    overrides(
        broker_url="redis://:hush@h/0",
        broker_transport_options={"sentinel_kwargs": {"password": "hush"}},
        redbeat_redis_url="redis://:hush@h/1",
    )
    app = make_app()
    assert app.conf.task_acks_late is True
    report = app.loader.overlay.report()
    assert "hush" not in json.dumps(report)
    assert all(set(item) == {"setting", "value", "why", "source"} and item["why"] for item in report)
    assert app.loader.overlay.unknown() == ["redbeat_redis_url"]


def test_a_default_can_be_withdrawn_but_not_a_choice(overrides: Any) -> None:
    name = "worker_cancel_long_running_tasks_on_connection_loss"
    app = make_app()
    assert app.conf[name] is True
    assert app.loader.overlay.drop(app.conf, name, "threads")
    assert app.conf[name] is False
    overrides(**{name: True})
    app = make_app()
    assert app.conf[name] is True
    assert not app.loader.overlay.drop(app.conf, name, "threads")
    assert app.conf[name] is True


def test_every_default_is_a_setting_of_this_celery() -> None:
    from celeryops.overlay import KNOWN

    version = settings.version_tuple(celery.__version__)
    names = {d.name for d in settings.DEFAULTS if "." not in d.name and version >= d.celery}
    assert names <= KNOWN


def test_an_overlay_without_files_is_empty() -> None:
    assert Overlay("").error == ""
    assert Overlay("").unknown() == []
