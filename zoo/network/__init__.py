"""The network in torch: the served pipeline around it, its trained weights, its device."""
