"""What the tests share: models, servers, load, and the client that users have."""
