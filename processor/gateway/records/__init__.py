"""What is kept of calls: the request log, the access log, traces."""
