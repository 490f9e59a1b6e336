"""Studies on top of learning: what leaks from what clients send, and what more bits per number bring."""
