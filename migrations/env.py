"""Run migrations on the connection that maia-sync hands over."""

from alembic import context

from maia_sync.store.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)

with context.begin_transaction():
    context.run_migrations()
