"""What was measured of a version, and how it is kept."""

import dataclasses
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from corelane.scheduler.demand import Cost, fit_cost


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """`points` are (rows, ms, coefficient of variation) of a request, in CPU time if one thread runs it, else in wall
    time; empty if the model refused every request that could be made up."""

    SCHEMA: ClassVar[int] = 1

    engine: str
    precision: str
    threads: int
    points: tuple[tuple[int, float, float], ...]

    @property
    def cost(self) -> Cost | None:
        """None without a point."""
        if not self.points:
            return None
        cv = min(statistics.median(point[2] for point in self.points), 1.0)
        return fit_cost([(rows, ms) for rows, ms, _ in self.points], cv)

    def to_json(self) -> dict[str, Any]:
        return {"schema": self.SCHEMA, **dataclasses.asdict(self)}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> "Profile":
        """ValueError if it is not one of this schema."""
        if not isinstance(found, Mapping) or found.get("schema") != cls.SCHEMA:
            raise ValueError(f"not a profile of schema {cls.SCHEMA}")
        try:
            points = tuple((int(rows), float(ms), float(cv)) for rows, ms, cv in found["points"])
            engine, precision, threads = str(found["engine"]), str(found["precision"]), int(found["threads"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a profile: {error}") from error
        return cls(engine=engine, precision=precision, threads=threads, points=points)
