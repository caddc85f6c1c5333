"""People whose data the project holds: erased at their wish."""
