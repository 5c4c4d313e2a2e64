"""The dashboard: a viewer of a home's journal, or of an exported log; closing it changes nothing.

Textual reads its settings from the environment when it is imported, so they are set here.
"""

import os

from fedtui.tui import terminal

terminal.prepare(os.environ)
