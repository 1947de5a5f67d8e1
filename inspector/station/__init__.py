"""The station process: it keeps the books, and never touches a pixel."""
