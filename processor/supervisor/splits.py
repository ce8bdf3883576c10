"""Who got a model's calls before: kept on disk, so that a roll-back reaches over restarts."""

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from corelane.processor.knobs import STATE
from corelane.processor.manifest import VersionSettings
from corelane.processor.system.cache_files import from_checked, not_kept, to_checked, write_whole

_logger = logging.getLogger("corelane")

_KEPT_MAX = 50  # of a model
_MODELS_MAX = 1000
_BYTES_MAX = 16 << 20


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """A model's version list, as it was until `until_s` (seconds since 1970), when `said` was done `by` somebody."""

    until_s: float
    said: str
    by: str
    entries: tuple[VersionSettings, ...]

    @classmethod
    def from_json(cls, value: Any) -> "Split":
        """KeyError, TypeError or ValueError for what is none."""
        entries = tuple(VersionSettings(**entry) for entry in value["entries"])
        if not all(isinstance(entry.version, int) for entry in entries):
            raise TypeError("a version should be a number")
        return cls(until_s=float(value["until_s"]), said=str(value["said"]), by=str(value["by"]), entries=entries)


class Splits:
    """Of each model, the newest last. Thread safety: none; one at a time."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._by_model: dict[str, list[Split]] | None = None
        self._failed = False

    def of(self, model: str) -> Sequence[Split]:
        """Reads the disk at the first time. What is damaged there is forgotten, and that is said."""
        return tuple(self._read().get(model, ()))

    def change(self, model: str, splits: Sequence[Split]) -> None:
        """Puts others in their place, on disk as well, if it can be written; if not, that is said once."""
        by_model = self._read()
        by_model.pop(model, None)
        by_model[model] = list(splits)[-_KEPT_MAX:]
        while len(by_model) > _MODELS_MAX:
            del by_model[next(iter(by_model))]
        if self._path is None:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            plain = {name: [dataclasses.asdict(split) for split in kept] for name, kept in by_model.items()}
            write_whole(self._path, to_checked(plain), mode=0o640)
            self._failed = False
        except OSError as error:
            if not self._failed:
                _logger.warning("%s", not_kept("earlier splits", self._path.parent, error, STATE))
            self._failed = True

    def _read(self) -> dict[str, list[Split]]:
        if self._by_model is None:
            self._by_model = {} if self._path is None else _kept(self._path)
        return self._by_model


def _kept(path: Path) -> dict[str, list[Split]]:
    try:
        with path.open("rb") as file:
            plain = from_checked(file.read(_BYTES_MAX))
        return {name: [Split.from_json(one) for one in kept] for name, kept in plain.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        _logger.warning("earlier splits in %s are forgotten: %s", path, error)
        return {}
