"""What work may take of this machine: memory and disk, shared by all workers on it."""
