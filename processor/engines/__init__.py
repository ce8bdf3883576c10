"""Engines: what runs a model's graph."""

from processor.engines.engine import Engine, EngineOptions, NativeEngine
from processor.engines.selection import choose_engine, load_engine

__all__ = ["Engine", "EngineOptions", "NativeEngine", "choose_engine", "load_engine"]
