"""Batch inference: sources -> session -> sinks; each at work while the others are."""
