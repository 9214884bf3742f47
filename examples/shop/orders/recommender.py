"""A model small enough to read, shaped like a big one: slow to load, held in memory, quick to ask."""

import functools
import random
import threading
import uuid
from collections import Counter

PRODUCTS = [f"product-{number}" for number in range(80)]


class Recommender:
    """Which products are bought together, learnt from made-up purchases that are always the same ones."""

    def __init__(self) -> None:
        self.serial = uuid.uuid4().hex  # tells of a result from which load it came
        self.together: dict[str, Counter[str]] = {product: Counter() for product in PRODUCTS}
        chance = random.Random(42)
        for _ in range(20_000):
            basket = chance.sample(PRODUCTS, 8)
            for product in basket:
                self.together[product].update(other for other in basket if other != product)

    def recommend(self, product: str, count: int = 3) -> list[str]:
        ranked = sorted(self.together[product].items(), key=lambda pair: (-pair[1], pair[0]))
        return [other for other, _ in ranked[:count]]


_load = functools.cache(Recommender)
_loading = threading.Lock()


def model() -> Recommender:
    """The process's own model, loaded when first asked for and kept until the process ends."""
    # In a pool of threads several tasks ask first at once, and each would load one.
    with _loading:
        return _load()
