"""Multi-tenant analytics on PostgreSQL as a Dagster lineage graph."""
