"""Evaluation: metrics of a bundle or a network on a split, and the check of a published card."""
