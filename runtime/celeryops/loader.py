"""The Celery loader of the fleet, named by ``CELERY_LOADER``: the door by which the runtime comes in."""

from __future__ import annotations

from typing import Any

from celery import signals
from celery.exceptions import ImproperlyConfigured
from celery.loaders.app import AppLoader

from celeryops.log import harmless
from celeryops.overlay import Overlay


class FleetLoader(AppLoader):
    """Lays the settings over the application and gives its worker and beat readiness, watchdog and record."""

    builtin_modules = frozenset({"celeryops.canary"})

    def __init__(self, app: Any, **kwargs: Any) -> None:
        super().__init__(app, **kwargs)
        self.overlay = Overlay.from_env()
        self._joined = False

    @property
    def conf(self) -> Any:
        # Celery reads this just before it sends `on_after_configure`. The constructor is too early to join:
        # the fixup for Django makes the loader while the application has neither its signals nor its steps.
        if not self._joined:
            self._joined = True
            self.app.on_after_configure.connect(self._configure, weak=False)
            self._join(self.app)
        return super().conf

    def import_default_modules(self) -> Any:
        if self.overlay.error:
            # Half the settings are worse than none: queues, prefixes and limits may hang on them.
            raise ImproperlyConfigured(
                f"The settings of the fleet cannot be read: {self.overlay.error}. Deploy this host again."
            )
        if self.app.configured:
            # The application may have assigned settings since its configuration was read.
            self._configure(self.app.conf)
        return super().import_default_modules()

    @harmless
    def _configure(self, source: Any, **_: Any) -> None:
        self.overlay.apply(source)

    @harmless
    def _join(self, app: Any) -> None:
        # By name, to be imported when a worker or beat really starts. gevent, when it patches the standard
        # library, touches Celery's default application: redis imported then would keep unpatched sockets.
        app.steps["worker"].add("celeryops.steps:MemberStep")
        app.steps["consumer"].add("celeryops.steps:LoopStep")
        signals.beat_init.connect(_on_beat_init, weak=False, dispatch_uid="celeryops.beat_init")


@harmless
def _on_beat_init(sender: Any, **_: Any) -> None:
    from celeryops.beatwatch import watch

    watch(sender)
