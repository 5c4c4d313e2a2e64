"""What is installed beside fedtui, as a CycloneDX bill of materials."""

import json
from importlib import metadata

_FORMAT = "1.5"


def bill_of_materials(*, time: str) -> str:
    """Every distribution of this environment, as CycloneDX JSON.

    Args:
        time: When, ISO 8601.

    References:
        CycloneDX 1.5, ECMA-424; package URLs by the purl specification.
    """
    found = {}
    for distribution in metadata.distributions():
        name = distribution.metadata["Name"]
        if name:
            found[name.lower().replace("_", "-")] = distribution
    components = [_component(name, found[name]) for name in sorted(found)]
    own = next((c for c in components if c["name"] == "fedtui"), None)
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": _FORMAT,
        "version": 1,
        "metadata": {"timestamp": time, **({"component": own} if own else {})},
        "components": [c for c in components if c["name"] != "fedtui"],
    }
    return json.dumps(document, indent=2) + "\n"


def _component(name: str, distribution: metadata.Distribution) -> dict[str, object]:
    url = f"pkg:pypi/{name}@{distribution.version}"
    component: dict[str, object] = {
        "type": "application" if name == "fedtui" else "library",
        "bom-ref": url,
        "name": name,
        "version": distribution.version,
        "purl": url,
    }
    if licence := distribution.metadata.json.get("license_expression"):
        component["licenses"] = [{"expression": licence}]
    return component
