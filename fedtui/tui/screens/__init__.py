"""The screens: each arranges panels for the size it has."""
