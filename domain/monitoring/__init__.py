"""Reference profiles of a model's inputs and outputs in training, and drift from them."""
