"""Measurements beside the peers: `python -m benchmarks`, or `make bench`."""
