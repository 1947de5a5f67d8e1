"""Pictures of the operator's terminal for the README."""
