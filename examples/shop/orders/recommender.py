"""A model small enough to read, shaped like a big one: slow to load, held in memory, quick to ask."""

import functools
import random
import uuid
from collections import Counter

PRODUCTS = [f"product-{number}" for number in range(80)]


class Recommender:
    """Which products are bought together, learnt from purchases that are made up, the same ones every time."""

    def __init__(self) -> None:
        self.serial = uuid.uuid4().hex  # differs for every load, so that a result tells which load it came from
        self.together: dict[str, Counter[str]] = {product: Counter() for product in PRODUCTS}
        chance = random.Random(42)
        for _ in range(20_000):
            basket = chance.sample(PRODUCTS, 8)
            for product in basket:
                self.together[product].update(other for other in basket if other != product)

    def recommend(self, product: str, count: int = 3) -> list[str]:
        ranked = sorted(self.together[product].items(), key=lambda pair: (-pair[1], pair[0]))
        return [other for other, _ in ranked[:count]]


@functools.cache
def model() -> Recommender:
    """The process's own model, loaded when first asked for and kept until the process ends."""
    return Recommender()
