"""How the Maia REST API is spoken to: bytes, requests, credentials. Knows no database."""
