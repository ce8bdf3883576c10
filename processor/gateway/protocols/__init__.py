"""What KServe's protocol and Triton's extensions say, by gRPC and by REST."""
