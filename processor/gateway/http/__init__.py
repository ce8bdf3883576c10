"""The HTTP gateway: REST to clients, the same channels to workers. A process of its own: JSON stops no gRPC call."""
