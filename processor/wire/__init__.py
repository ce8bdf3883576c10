"""The wire: messages, tensors and status codes as clients see them."""
