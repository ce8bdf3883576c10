"""What a process takes of its machine: threads, descriptors, ports, files, its sandbox."""
