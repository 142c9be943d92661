"""The client of the Valossa Core API."""
