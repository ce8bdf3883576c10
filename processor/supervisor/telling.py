"""What has been said of models already, so that it is said once for each change."""

import logging
from collections.abc import Sequence

from corelane.processor.supervisor.events import Events, Kind
from corelane.processor.supervisor.files.folders import ModelFolder


class Telling:
    """Belongs to the event loop's thread."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self.unready: dict[str, str] = {}  # why which model is not ready, as was told last
        self._missing_arms: dict[str, Sequence[str]] = {}  # as was told last, by model

    def missing_arms(self, model: str, missing: Sequence[str]) -> None:
        """`missing`: what `readiness.missing_arms` says."""
        told, self._missing_arms[model] = self._missing_arms.get(model, ()), missing
        for sentence in missing:
            if sentence not in told:
                self._events.note(Kind.TRAFFIC, sentence, model=model, level=logging.WARNING)
        if told and not missing:
            text = "every version that has traffic or a label is available again"
            self._events.note(Kind.TRAFFIC, text, model=model)

    def folder(self, model: str, before: ModelFolder, now: ModelFolder) -> None:
        told = before.warnings()
        for warning in now.warnings():
            if warning not in told:
                self._events.note(Kind.FOLDER, warning, model=model, level=logging.WARNING)
