"""Hold all SQL: functions of a connection that is inside a transaction."""
