"""The Python that runs beside a Celery application of the fleet.

It comes in by ``PYTHONPATH`` and ``CELERY_LOADER``; the application itself is not changed.
"""

__version__ = "0.1.0"
