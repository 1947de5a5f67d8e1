"""Screens: one a file. They hand values to their widgets and never see the link."""
