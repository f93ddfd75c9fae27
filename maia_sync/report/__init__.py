"""What do answers look like? Charts, tables, documents; no HTTP."""
