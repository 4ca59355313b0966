"""A key-value server for testgrove."""
