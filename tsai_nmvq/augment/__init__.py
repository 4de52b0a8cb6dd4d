"""Synthetic series in the training batches of a tsai classifier."""
