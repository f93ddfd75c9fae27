"""What do the stored payloads say? Facets, and what is counted from them."""
