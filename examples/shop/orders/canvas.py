"""Every canvas of Celery, each beside the plain Python that gives the same value."""

from collections.abc import Iterator
from typing import Any

from celery import chain, chord, group
from celery.canvas import Signature

from .recommender import PRODUCTS, model
from .tasks import add_shipping, most_recommended, price, receipt, recommend, total

BASKET = [(quantity, 250) for quantity in range(1, 7)]


def canvases() -> Iterator[tuple[str, Signature, Any]]:
    """Name, signature and expected value."""
    prices = [quantity * cents for quantity, cents in BASKET]
    header = [price.s(quantity, cents) for quantity, cents in BASKET]

    # .s() is given its parent's result as first argument; .si() is immutable and is not.
    yield "chain .s()", chain(price.s(3, 250), add_shipping.s(499)), 3 * 250 + 499
    yield "chain .si()", chain(price.s(3, 250), receipt.si("A-1")), "thank you for order A-1"
    yield "group", group(header), prices
    yield "chord .s()", chord(header, total.s()), sum(prices)
    yield "chord .si()", chord(header, receipt.si("A-2")), "thank you for order A-2"
    yield "group | task", group(header) | total.s() | add_shipping.s(499), sum(prices) + 499
    # One message for the whole list, run by one process.
    yield "map", total.map([[1, 2], [3, 4, 5]]), [1 + 2, 3 + 4 + 5]
    yield "starmap", price.starmap(BASKET), prices
    # One message for every four.
    yield "chunks", price.chunks(BASKET, 4).group(), [prices[:4], prices[4:]]
    # The header runs on `ml`, the body on `celery`.
    answers = [{"products": model().recommend(product)} for product in PRODUCTS[:6]]
    yield (
        "chord over two queues",
        chord((recommend.s(product) for product in PRODUCTS[:6]), most_recommended.s()),
        most_recommended(answers),
    )
