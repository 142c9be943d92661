"""Tell the world outside of a run: the service manager, a command, an address, a metrics file."""
