"""What clients learn from: datasets, readers of files, and who holds which samples in which order."""
