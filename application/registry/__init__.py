"""The record of versions at work: promotion, rollback, history, and what is no longer needed."""
