"""What is made of a trained head for use elsewhere: for now folding, a smaller head with the same answers."""
