"""How the copy is kept in a database: schema, transactions, rows. Knows no HTTP."""
