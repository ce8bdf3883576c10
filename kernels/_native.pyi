def instruction_sets() -> list[str]:
    """Names of the vector instruction sets that processor and operating system support."""
