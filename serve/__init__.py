"""Serving: batch inference over bundles. Imports no torch."""
