"""The operator's terminal: a screen attached from outside. It shows what the feed says and decides nothing."""
