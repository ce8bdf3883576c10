"""The supervisor: the control plane that owns every process and makes them match the manifest."""
