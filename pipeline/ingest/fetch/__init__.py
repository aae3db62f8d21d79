"""Photos fetched by their addresses, resumable, and read again."""
