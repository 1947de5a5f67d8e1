"""Proofs of what docs/camera.md promises; each is a make target."""
