"""The conditional density of one particle given the others, learned from the training split without any physics."""
