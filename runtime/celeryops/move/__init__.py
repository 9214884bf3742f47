"""Take a fleet's queues and books to another Redis, prefix or name: `move` does what is asked."""

from celeryops.move.command import move

__all__ = ["move"]
