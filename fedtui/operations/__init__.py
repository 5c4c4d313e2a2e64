"""What both people-facing doors do: commands and dashboard call these, and nothing else.

Each is imported when it is first used, so that `status` does not pay for what `init` needs.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fedtui.operations._homes import create as create
    from fedtui.operations._homes import invite as invite
    from fedtui.operations._homes import join as join
    from fedtui.operations._homes import join_flower as join_flower
    from fedtui.operations._homes import revoke as revoke
    from fedtui.operations._homes import sites as sites
    from fedtui.operations._orders import down as down
    from fedtui.operations._orders import pause as pause
    from fedtui.operations._orders import run as run
    from fedtui.operations._orders import stop as stop
    from fedtui.operations._orders import up as up
    from fedtui.operations._records import export_run as export_run
    from fedtui.operations._records import health as health
    from fedtui.operations._records import known as known
    from fedtui.operations._records import openmetrics as openmetrics
    from fedtui.operations._records import runs as runs
    from fedtui.operations._records import status as status
    from fedtui.operations._records import verify_export as verify_export

_MODULES = ("_records", "_orders", "_homes")  # the cheapest first


def __getattr__(name: str) -> Any:
    if not name.startswith("_"):
        for module in _MODULES:
            found = importlib.import_module(f"fedtui.operations.{module}")
            if getattr(vars(found).get(name), "__module__", "") == found.__name__:
                return vars(found)[name]
    raise AttributeError(f"fedtui.operations has no {name}")
