"""The only SQL. Every verb is a plain function of a connection that is inside a transaction."""
