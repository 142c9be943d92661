"""Serve the page of a queue, its health and its metrics."""
