"""How a task's log becomes rows: identity, walk, run. The only floor that sees both columns."""
