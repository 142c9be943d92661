"""Local files that are to be uploaded."""
