"""Engines: what runs a model's graph."""

from corelane.processor.engines.engine import Engine, EngineOptions, NativeEngine
from corelane.processor.engines.selection import choose_engine, load_engine

__all__ = ["Engine", "EngineOptions", "NativeEngine", "choose_engine", "load_engine"]
