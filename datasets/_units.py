"""Units that look swapped: a column whose middle lies where another unit would put it."""

import numpy as np
from numpy.typing import NDArray

from datasets import Feature

FEWEST = 10  # values; the middle of fewer could be one patient's

# Where the median of any group of adults lies, by measure and unit. The ranges of a measure do not
# touch, so a median in the other one's range is a swap and not an ill group. Conversions: SI
# conversion table of the JAMA Manual of Style.
_RANGES: dict[tuple[str, ...], dict[str, tuple[float, float]]] = {
    ("temp",): {"°C": (33.0, 42.0), "°F": (91.0, 108.0)},
    ("gluc", "glukos", "blodsocker"): {"mg/dL": (55.0, 450.0), "mmol/L": (3.0, 25.0)},
    ("chol", "kolesterol", "ldl", "hdl"): {"mg/dL": (25.0, 400.0), "mmol/L": (0.6, 10.0)},
    ("triglycer",): {"mg/dL": (35.0, 600.0), "mmol/L": (0.4, 7.0)},
    ("creat", "krea"): {"mg/dL": (0.3, 9.0), "µmol/L": (25.0, 800.0)},
    ("calcium", "kalcium"): {"mg/dL": (5.5, 14.0), "mmol/L": (1.3, 3.5)},
    ("haemoglobin", "hemoglobin", "hb"): {"g/dL": (6.0, 20.0), "g/L": (60.0, 200.0)},
    ("height", "längd", "langd"): {"cm": (120.0, 210.0), "m": (1.2, 2.1), "in": (47.0, 83.0)},
    ("fio2",): {"%": (20.0, 100.0), "": (0.2, 1.0)},
}
_ALIASES = {"°c": "°C", "c": "°C", "celsius": "°C", "degc": "°C", "°f": "°F", "f": "°F"}
_ALIASES |= {"fahrenheit": "°F", "degf": "°F", "umol/l": "µmol/L", "μmol/l": "µmol/L"}
_ALIASES |= {unit.lower(): unit for known in _RANGES.values() for unit in known}


def swapped(feature: Feature, values: NDArray[np.float64]) -> str:
    """The unit that ``values`` seem to be in instead of the feature's; empty if none does.

    Args:
        values: float64 [rows] as the file has them, NaN where missing; implausible ones included.
    """
    name = feature.name.lower()
    unit = _ALIASES.get(feature.unit.lower(), feature.unit)
    known = values[~np.isnan(values)]
    if len(known) < FEWEST:
        return ""
    middle = float(np.median(known))
    for words, ranges in _RANGES.items():
        if unit in ranges and any(word in name for word in words):
            low, high = ranges[unit]
            if low <= middle <= high:
                return ""
            fitting = (u for u, (lo, hi) in ranges.items() if u != unit and lo <= middle <= hi)
            return next(fitting, "")
    return ""
