"""The network in torch: its trained weights, its device, and the pipeline around it."""
