"""`sgg compare`: cells of a grid of strategies, targets, shots and seeds."""
