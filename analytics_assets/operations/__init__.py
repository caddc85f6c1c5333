"""Running the project: retention, restore, freshness, and Dagster's own storage."""
