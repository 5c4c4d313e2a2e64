"""Textual widgets: few, because panels are functions."""
