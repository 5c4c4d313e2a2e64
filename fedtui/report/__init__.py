"""What a run came to, from a journal alone: comparison, page, text, and the papers beside it."""
