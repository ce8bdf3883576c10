"""The gateway process: speaks gRPC to clients, hands raw request bytes to workers, never parses a tensor."""
