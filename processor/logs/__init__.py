"""Log lines of all our processes."""

from corelane.processor.logs.lines import configure, configure_child, flush, is_json, pass_on, start

__all__ = ["configure", "configure_child", "flush", "is_json", "pass_on", "start"]
