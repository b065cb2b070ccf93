"""Training: data, model, loss and optimizer, then the cycle; from a recipe to a bundle."""
