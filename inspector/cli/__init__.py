"""The sub-commands of ``inspector``, one file each."""
