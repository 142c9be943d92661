"""Serve the page of a queue, its health and its metrics. Loaded where they are asked for."""
