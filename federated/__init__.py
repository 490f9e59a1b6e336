"""Federated and split learning procedures that really train, driven round by round by a plan."""
