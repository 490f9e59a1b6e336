"""Physics of networks and devices: one function is one equation, pure, batched, array-agnostic, SI units."""
