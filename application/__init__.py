"""Use cases: train, validate, predict, monitor. They reach vendors only through ports."""
