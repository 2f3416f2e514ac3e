"""Working with registered versions: promotion, rollback, history, listing and cleaning up."""
