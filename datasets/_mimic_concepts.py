"""What is measured in the first day: 42 concepts, their item ids, units and plausible ranges.

References:
    mimic-code, mimic-iv/concepts/measurement and firstday (item ids, and ranges where it has one;
    its upper bound of 10,000 for some blood values is narrowed here to what a patient survives).
"""

from typing import NamedTuple


class Concept(NamedTuple):
    """One thing that is measured, by one or several items.

    Attributes:
        table: Where its items are.
        low: Smallest plausible value, in ``unit``; below it counts as not measured.
        items: Item ids.
        scale: By item, what turns its value into ``unit``: factor and what is added after.
    """

    name: str
    unit: str
    table: str
    low: float
    high: float
    items: tuple[int, ...]
    scale: tuple[tuple[int, float, float], ...] = ()


def _chart(name: str, unit: str, low: float, high: float, *items: int) -> Concept:
    return Concept(name, unit, "icu/chartevents", low, high, items)


def _lab(name: str, unit: str, low: float, high: float, item: int) -> Concept:
    return Concept(name, unit, "hosp/labevents", low, high, (item,))


CONCEPTS = (
    _chart("heart_rate", "1/min", 1, 300, 220045),
    _chart("systolic", "mm Hg", 1, 400, 220179, 220050, 225309),
    _chart("diastolic", "mm Hg", 1, 300, 220180, 220051, 225310),
    _chart("mean_pressure", "mm Hg", 1, 300, 220052, 220181, 225312),
    _chart("respiratory_rate", "1/min", 1, 70, 220210, 224690),
    _chart("temperature", "°C", 10, 50, 223761, 223762)._replace(
        scale=((223761, 5 / 9, -160 / 9),)  # Fahrenheit
    ),
    _chart("spo2", "%", 1, 100, 220277),
    _chart("glucose", "mg/dL", 1, 2000, 225664, 220621, 226537),
    _chart("fio2", "%", 20, 100, 223835),
    _chart("gcs_eyes", "", 1, 4, 220739),
    _chart("gcs_verbal", "", 1, 5, 223900),
    _chart("gcs_motor", "", 1, 6, 223901),
    _chart("weight", "kg", 20, 400, 226512, 224639),
    _chart("height", "cm", 120, 230, 226730),
    _lab("albumin", "g/dL", 0.1, 10, 50862),
    _lab("anion_gap", "mEq/L", -10, 100, 50868),
    _lab("bicarbonate", "mEq/L", 1, 100, 50882),
    _lab("urea_nitrogen", "mg/dL", 1, 300, 51006),
    _lab("calcium", "mg/dL", 1, 30, 50893),
    _lab("chloride", "mEq/L", 40, 200, 50902),
    _lab("creatinine", "mg/dL", 0.05, 150, 50912),
    _lab("glucose_lab", "mg/dL", 1, 2000, 50931),
    _lab("sodium", "mEq/L", 50, 200, 50983),
    _lab("potassium", "mEq/L", 0.5, 30, 50971),
    _lab("haematocrit", "%", 1, 100, 51221),
    _lab("haemoglobin", "g/dL", 0.5, 50, 51222),
    _lab("platelets", "K/µL", 1, 10_000, 51265),
    _lab("leukocytes", "K/µL", 0.01, 1000, 51301),
    _lab("red_cell_width", "%", 5, 60, 51277),
    _lab("alt", "IU/L", 1, 50_000, 50861),
    _lab("ast", "IU/L", 1, 50_000, 50878),
    _lab("alkaline_phosphatase", "IU/L", 1, 10_000, 50863),
    _lab("bilirubin", "mg/dL", 0.05, 150, 50885),
    _lab("inr", "", 0.1, 50, 51237),
    _lab("ptt", "s", 5, 200, 51275),
    _lab("lactate", "mmol/L", 0.05, 50, 50813),
    _lab("ph", "", 6.5, 8.5, 50820),
    _lab("po2", "mm Hg", 10, 800, 50821),
    _lab("pco2", "mm Hg", 5, 250, 50818),
    _lab("base_excess", "mEq/L", -50, 50, 50802),
    _lab("troponin_t", "ng/mL", 0, 100, 51003),
    Concept(
        "urine",
        "mL",
        "icu/outputevents",
        -10_000,
        10_000,
        (
            *(226559, 226560, 226561, 226584, 226563, 226564, 226565, 226567, 226557, 226558),
            *(227488, 227489),
        ),
        scale=((227488, -1.0, 0.0),),  # irrigant that went in
    ),
)
URINE = len(CONCEPTS) - 1  # summed over the day, where the others are averaged
INTUBATED = "No Response-ETT"  # as 'gcs_verbal': a tube, and not a patient who does not answer
VERBAL = 223900
EVENT_TABLES = ("icu/chartevents", "hosp/labevents", "icu/outputevents")
