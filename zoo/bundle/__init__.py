"""Bundles: trained models on disk, their cards, and where they come from and go to. No torch."""
