"""Generated click data with a planted signal, seeded.

A row is one impression. Ids and multi-valued fields are strings, as ad logs have them:

    user_id, item_id, category, city   "u17", "i42", "c3", "t5"
    tags       the item's tags, "|" between them, one to four
    history    the item ids that the user clicked last, newest first, "|" between them, none to twelve
    price, age, hour                   numbers

A click follows the agreement of hidden user and item vectors, the fit of the item's category to the history, the tags
that the user's city likes, the price and the hour. No model sees any of these directly.
"""

from dataclasses import dataclass

import numpy as np

USERS, ITEMS, CATEGORIES, CITIES, TAGS = 800, 400, 12, 10, 30
HISTORY_MAX = 12
STRINGS = ("user_id", "item_id", "category", "city", "tags", "history")
NUMBERS = ("price", "age", "hour")
SEPARATOR = "|"

_HIDDEN = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Clicks:
    """`columns` maps each field to an array of shape [rows]: objects (bytes) for strings, float32 for numbers."""

    columns: dict[str, np.ndarray]
    labels: np.ndarray

    def rows(self, start: int, stop: int) -> "Clicks":
        return Clicks(
            columns={name: values[start:stop] for name, values in self.columns.items()}, labels=self.labels[start:stop]
        )

    def ids(self) -> dict[str, np.ndarray]:
        """The one-valued ids as int64 [rows, 4] and the numbers as float32 [rows, 3], for models without strings."""
        ids = [[int(value[1:]) for value in self.columns[name]] for name in ("user_id", "item_id", "category", "city")]
        numbers = np.stack([self.columns[name] for name in NUMBERS], axis=1)
        scaled = (numbers - np.array([50, 40, 12], np.float32)) / np.array([30, 15, 7], np.float32)
        return {"ids": np.array(ids, np.int64).T.copy(), "dense": scaled.astype(np.float32)}


def generate(rows: int, seed: int) -> Clicks:
    """`rows` impressions; the same seed gives the same clicks, and every seed the same world."""
    world = np.random.default_rng(1)
    users = world.normal(size=(USERS, _HIDDEN))
    items = world.normal(size=(ITEMS, _HIDDEN))
    item_category = world.integers(CATEGORIES, size=ITEMS)
    item_tags = [world.choice(TAGS, size=world.integers(1, 5), replace=False) for _ in range(ITEMS)]
    user_city = world.integers(CITIES, size=USERS)
    user_taste = np.cumsum(world.dirichlet(np.full(CATEGORIES, 0.3), size=USERS), axis=1)
    user_bias, item_bias = 0.6 * world.normal(size=USERS), 0.9 * world.normal(size=ITEMS)
    city_tag = world.normal(size=(CITIES, TAGS))
    by_category = [np.flatnonzero(item_category == category) for category in range(CATEGORIES)]

    random = np.random.default_rng(seed)
    user = random.integers(USERS, size=rows)
    item = random.integers(ITEMS, size=rows)
    price = random.gamma(4.0, 12.0, size=rows).astype(np.float32)
    age = random.normal(40, 12, size=rows).clip(16, 90).astype(np.float32)
    hour = random.integers(24, size=rows).astype(np.float32)

    histories: list[bytes] = []
    fits = np.zeros(rows)
    for row in range(rows):
        draws = random.random((2, random.integers(0, HISTORY_MAX + 1)))
        liked = np.searchsorted(user_taste[user[row]], draws[0]).clip(max=CATEGORIES - 1)
        clicked = [
            by_category[category][int(draw * len(by_category[category]))]
            for category, draw in zip(liked, draws[1], strict=True)
        ]
        histories.append(SEPARATOR.join(f"i{index}" for index in clicked).encode())
        if clicked:
            fits[row] = np.mean([item_category[index] == item_category[item[row]] for index in clicked])
    tag_pull = np.array([city_tag[user_city[u], item_tags[i]].mean() for u, i in zip(user, item, strict=True)])

    score = (
        0.5 * np.einsum("rh,rh->r", users[user], items[item])
        + user_bias[user]
        + item_bias[item]
        + 3.0 * fits
        + 0.8 * tag_pull
        - 0.03 * (price - 48)
        + 0.5 * np.sin(hour / 24 * 2 * np.pi)
        - 1.2
    )
    labels = (random.random(rows) < 1 / (1 + np.exp(-score))).astype(np.float32)
    return Clicks(
        columns={
            "user_id": _names("u", user),
            "item_id": _names("i", item),
            "category": _names("c", item_category[item]),
            "city": _names("t", user_city[user]),
            "tags": _objects([SEPARATOR.join(f"g{tag}" for tag in item_tags[index]).encode() for index in item]),
            "history": _objects(histories),
            "price": price,
            "age": age,
            "hour": hour,
        },
        labels=labels,
    )


def auc(labels: np.ndarray, scores: np.ndarray) -> float:
    """Area under the ROC curve: the chance that a click scores above a non-click (rank statistic, ties averaged)."""
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    positives = labels.sum()
    negatives = len(labels) - positives
    return float((ranks[labels > 0].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def _names(prefix: str, numbers: np.ndarray) -> np.ndarray:
    return _objects([f"{prefix}{number}".encode() for number in numbers])


def _objects(values: list[bytes]) -> np.ndarray:
    array = np.empty(len(values), np.object_)
    array[:] = values
    return array
