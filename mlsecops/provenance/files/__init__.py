"""Files as bytes: opened without following links, hashed once, cached by stat."""
