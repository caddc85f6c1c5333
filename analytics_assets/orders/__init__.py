"""Orders, refunds and customers as entities."""
