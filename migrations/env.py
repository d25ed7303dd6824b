"""Where Alembic enters: the migrations run in the transaction that `app.database` opened."""

from alembic import context

from app.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
