"""Pictures: one process per camera, one thread in it that touches the vendor's library."""
