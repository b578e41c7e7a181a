"""The report: its schema, its JSON file, and what people read of it."""
