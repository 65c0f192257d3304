"""Pure functions on arrays: how well scores rank, what they say as probabilities, how sure that is."""
