"""What a model's inputs and outputs looked like in training, and how far they have moved."""
