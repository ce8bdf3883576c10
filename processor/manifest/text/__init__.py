"""A manifest as text: read to values with their places, and written back."""
