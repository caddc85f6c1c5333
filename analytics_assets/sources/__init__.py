"""Live sources: the vendors' APIs over one HTTP layer, and what keeps each of them in step with raw_data_backup."""
