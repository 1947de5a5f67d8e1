"""A virtual GenICam camera: a GenTL producer in C, and `control` to show it pictures and pull its wires."""
