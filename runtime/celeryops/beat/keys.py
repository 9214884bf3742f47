"""Where beat keeps its lease, its ledger and its candidates in the fleet's books.

Keys, all behind the application's ``global_keyprefix``:
    celeryops:<fleet>:beat:lease              the holder's token, with a TTL
    celeryops:<fleet>:beat:epoch              how often the lease was taken
    celeryops:<fleet>:beat:entries            the ledger, a hash: entry -> slot|count|task id
    celeryops:<fleet>:beat:place              where beat shall run, JSON {"mode", "host"}; absent for anywhere
    celeryops:<fleet>:beat:candidates         sorted set of hosts by the time when they were last seen
    celeryops:<fleet>:beat:candidate:<host>   what a candidate says of itself, with a TTL
    celeryops:<fleet>:beat:bell               channel that wakes candidates
"""

from __future__ import annotations


class Keys:
    """The keys of one fleet.

    Parameters:
        prefix: The application's ``global_keyprefix``.
        fleet: Name of the fleet.
    """

    def __init__(self, prefix: str, fleet: str) -> None:
        base = f"{prefix}celeryops:{fleet}:beat:"
        self.lease = base + "lease"
        self.epoch = base + "epoch"
        self.ledger = base + "entries"
        self.place = base + "place"
        self.candidates = base + "candidates"
        self.candidate_prefix = base + "candidate:"
        self.bell = base + "bell"

    def candidate(self, host: str) -> str:
        return self.candidate_prefix + host
