"""What a request or a version passes through; a folder answers one question."""
