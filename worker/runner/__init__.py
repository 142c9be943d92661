"""One run: claim, send, settle, until it is over."""
