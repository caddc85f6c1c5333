"""What a machine does to a database and its clients: a full disk, no connection left, a clock that jumps, a migration meanwhile."""
