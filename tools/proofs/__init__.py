"""Proofs of what docs/plc.md and the books promise; each is a make target."""
