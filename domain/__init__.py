"""What machine learning means here: data, models, evaluation and monitoring, without vendors."""
