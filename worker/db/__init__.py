"""A queue's database: where it is, how it is opened, its schema and its transactions."""
