"""Engines: what runs a model's graph."""

from processor.engines.engine import BytesEngine, Engine, EngineOptions
from processor.engines.selection import choose_engine, load_engine

__all__ = ["BytesEngine", "Engine", "EngineOptions", "choose_engine", "load_engine"]
