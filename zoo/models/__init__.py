"""One file per model; each declares an `ENTRY`. A new file here is a new model."""
