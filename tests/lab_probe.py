"""The checks in a process of their own: in a namespace, or under another clock."""

import json
import sys
from pathlib import Path

from fedtui import checks
from fedtui.checks import Target
from fedtui.site import Home

if __name__ == "__main__":
    request = json.loads(sys.argv[1])
    target, home = request["target"], request["home"]
    if target is not None:
        target = Target(**{**target, "addresses": tuple(target["addresses"])})
    found = checks.run(target, home=home and Home(Path(home)), **request["options"])
    print(json.dumps(checks.to_json(found)))
