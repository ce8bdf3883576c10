"""Version folders on disk, and other files that may change while the server runs."""
