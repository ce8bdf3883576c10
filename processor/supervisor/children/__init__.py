"""The processes that the supervisor owns: workers and gateways."""
