"""The parts of screens: each turns a ``View`` and a width into lines, and knows no terminal."""
