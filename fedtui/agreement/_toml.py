"""A study as the file that people read, edit and keep: ``study.toml``."""

import json
import re
import textwrap
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from fedtui.study import Study

_BARE = re.compile(r"[A-Za-z0-9_-]+")
# What each part means, for a reader who has never seen one; a table's name stands for the table.
_MEANING = {
    "id": "A short name, which is typed to approve it.",
    "purpose": "What it is for, in words that an ethics board would understand.",
    "legal_basis": "What allows it: the ethics approval's number, or the like.",
    "sites": "The hospitals that take part.",
    "expires": "The last day on which a run may start or go on; empty for no end.",
    "data": "The data set. Where it lies is each site's own decision.",
    "schema": "Hex sha256 of its names, units, ranges and classes: a site whose data have another "
    "refuses.",
    "cohort": "Who is in it, in words; the data set's module is the rule itself.",
    "normalisation": "'federated': all sites agree on one scale in round 0; 'none': data as they "
    "are.",
    "imputation": "What stands in for a missing number: 'mean' or 'median', of all sites.",
    "clipping": "How many deviations a number may lie from the mean before it is cut; 0: no limit.",
    "model": "The model, and under [parameters] its settings.",
    "pretrained": "Hex sha256 of the file with the weights that it begins from; empty for none.",
    "rounds": "How often the sites train and their models become one.",
    "seed": "Decides the first model, and who is in whose test split.",
    "metric": "The one number that screens show.",
    "strategy": "How the sites' models become one; its settings under [aggregation].",
    "transport": "How parameters travel: 'float32', or 'bfloat16' in half the bytes.",
    "exchange": "Models that may be handed out as files, once the leakage gate has passed: "
    "'joint', 'local'.",
    "interop": "Whether stock Flower peers may take part: public or synthetic data only.",
    "approvers": "The person who approves, for each site. Without any, no site takes part with "
    "data that it has not declared public.",
    "parameters": "The model's settings.",
    "training": "Local work in a round.",
    "privacy": "Record-level privacy: epsilon (or noise), clip, delta; an empty table for none. "
    "It covers the updates, not round 0, metrics, or the choice of model.",
    "aggregation": "The strategy's settings; empty for the published ones.",
    "quorum": "When a round may go on without everybody; minimum_sites left out is all sites.",
    "validation": "How the joint model is judged once a run is over.",
}
_WIDTH = 90  # characters
_ORDER = tuple(_MEANING)


def to_toml(study: Study) -> str:
    """The study as commented TOML, which reads back as the very same study."""
    values = asdict(study)
    order = sorted(values, key=lambda key: _ORDER.index(key) if key in _ORDER else len(_ORDER))
    lines = [
        "# What the sites agree on. Each approves exactly this: any change, also of a number,",
        "# needs every approval anew ('fedtui study diff' shows what changed).",
        "",
    ]
    for key in order:
        if not isinstance(values[key], dict):
            lines += [*_comment(key), f"{key} = {_value(values[key])}"]
    for key in order:
        if isinstance(values[key], dict):
            lines += ["", *_comment(key), f"[{key}]"]
            lines += [f"{_key(name)} = {_value(value)}" for name, value in values[key].items()]
    return "\n".join([*lines, ""])


def _comment(key: str) -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(_MEANING.get(key, key), _WIDTH - 2)]


def _value(value: Any) -> str:
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(k)} = {_value(v)}" for k, v in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    return repr(value)


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _value(name)
