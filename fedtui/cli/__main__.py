"""``python -m fedtui.cli`` is the ``fedtui`` command."""

from fedtui.cli import main

main()
