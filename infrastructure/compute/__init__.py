"""Background work, and the receipts of finished steps."""
