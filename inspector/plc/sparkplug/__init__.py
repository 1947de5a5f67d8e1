"""Sparkplug B 3.0: the payload's bytes and the edge node's rules, without a wire."""
