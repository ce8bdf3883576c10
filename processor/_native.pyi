def peek_model_spec(request: bytes, depth: int = 0) -> tuple[bool, str, int | None, str | None, str] | None:
    """(present, name, version, version_label, signature_name) of a request's ModelSpec; None if malformed."""
