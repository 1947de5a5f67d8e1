"""Widgets: each gets a value, draws it in lines of exactly its size, and knows nothing of the link."""
