"""The exercises, one file each: formulas, cases, torch's results, typical mistakes."""
