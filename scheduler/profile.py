"""The measured cost of a version's requests, and its JSON form."""

import dataclasses
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from corelane.scheduler.demand import Cost, fit_cost


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """`points` are (rows, ms, coefficient of variation) of a request: CPU time if one thread runs it, else wall time.
    They are empty if the model refused every generated request."""

    SCHEMA: ClassVar[int] = 1

    engine: str
    precision: str
    threads: int
    points: tuple[tuple[int, float, float], ...]

    @property
    def cost(self) -> Cost | None:
        """The line through the points; None without points."""
        if not self.points:
            return None
        cv = min(statistics.median(point[2] for point in self.points), 1.0)
        return fit_cost([(rows, ms) for rows, ms, _ in self.points], cv)

    def to_json(self) -> dict[str, Any]:
        return {"schema": self.SCHEMA, **dataclasses.asdict(self)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Profile":
        """ValueError if the document has another schema."""
        if not isinstance(document, Mapping) or document.get("schema") != cls.SCHEMA:
            raise ValueError(f"not a profile of schema {cls.SCHEMA}")
        try:
            points = tuple((int(rows), float(ms), float(cv)) for rows, ms, cv in document["points"])
            engine, precision = str(document["engine"]), str(document["precision"])
            threads = int(document["threads"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a profile: {error}") from error
        return cls(engine=engine, precision=precision, threads=threads, points=points)
