"""Hold all SQL: functions of a connection that is inside a transaction.

They know no HTTP, no settings and no clock: moments (UTC) are arguments. In a write transaction,
what they read holds until they have written.
"""
