from django.db import models


class Event(models.Model):
    """Something that happened in the shop or in its workers: one row, written once, never changed."""

    kind = models.CharField(max_length=32)
    subject = models.CharField(max_length=255)
    node = models.CharField(max_length=255, blank=True)
    at = models.DateTimeField(auto_now_add=True)

    class Meta:
        indexes = [models.Index(fields=["kind", "subject"]), models.Index(fields=["at"])]

    def __str__(self) -> str:
        return f"{self.at:%F %T} {self.kind} {self.subject}"
