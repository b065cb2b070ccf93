"""The Open Inference Protocol V2 over HTTP, image files in and labels out, and the page."""
