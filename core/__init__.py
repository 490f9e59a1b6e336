"""The ground: arrays, records, checks, settings, randomness, files and logs; it knows nothing of networks."""
