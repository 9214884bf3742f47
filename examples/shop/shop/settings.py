"""Only what the shop itself must say. The broker is in CELERY_BROKER_URL, which Celery reads by itself."""

import os
from pathlib import Path

from celery.schedules import crontab
from django.core.exceptions import ImproperlyConfigured

BASE_DIR = Path(__file__).resolve().parent.parent
DEBUG = os.environ.get("SHOP_DEBUG") == "1"
SECRET_KEY = os.environ.get("SHOP_SECRET_KEY", "for development only" if DEBUG else "")
if not SECRET_KEY:
    raise ImproperlyConfigured(
        "SHOP_SECRET_KEY is not set. Set it to a long random string, or set SHOP_DEBUG=1 on your own machine."
    )

INSTALLED_APPS = ["django_celery_results", "orders"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = "UTC"

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("SHOP_DATABASE", BASE_DIR / "shop.sqlite3"),
        "OPTIONS": {
            # Readers do not wait for the writer.
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL",
            # Take the write lock when a transaction begins. A transaction that reads first and writes later
            # fails at once with "database is locked" when another process wrote in between, however long
            # the timeout; storing a result and counting a chord's parts do exactly that. Measured with eight
            # pool processes and 50 chords of 16 tasks: without this line none ends, with it all do in 5 s.
            "transaction_mode": "IMMEDIATE",
            # Seconds to wait for that lock.
            "timeout": 30,
        },
    }
}

CELERY_RESULT_BACKEND = "django-db"
CELERY_TIMEZONE = TIME_ZONE
CELERY_TASK_ROUTES = {"orders.tasks.recommend": {"queue": "ml"}}
# `expires` keeps runs that nobody could take from piling up and then running all at once.
CELERY_BEAT_SCHEDULE = {
    "count-stock": {
        "task": "orders.tasks.count_stock",
        "schedule": 15.0,
        "options": {"expires": 10},
    },
    "forget-old-events": {
        "task": "orders.tasks.forget_old_events",
        "schedule": crontab(hour=3, minute=30),
        "options": {"expires": 3600},
    },
}
