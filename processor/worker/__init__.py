"""The worker process: one model version in one engine, with a SessionGroup."""
