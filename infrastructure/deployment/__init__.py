"""Where a Bento is rolled out."""
