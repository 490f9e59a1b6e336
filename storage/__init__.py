"""Files that survive a kill at any moment: written whole or not at all, loaded without unpickling."""
