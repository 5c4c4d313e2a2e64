"""A copy of MIMIC-IV written by hand: one hundred stays, and events of the first."""

from pathlib import Path

MORNING, NIGHT = "2151-01-01 07:00:00", "2151-01-02 05:59:00"


def hand(folder: Path, *, chart: str = "", lab: str = "", output: str = "") -> Path:
    """One hundred adults who stay from 06:00 for two days; events are of stay 3000."""
    (folder / "hosp").mkdir(parents=True)
    (folder / "icu").mkdir()
    people = range(100)
    files = {
        "hosp/patients": "subject_id,gender,anchor_age,anchor_year,anchor_year_group,dod\n"
        + "".join(f"{1000 + n},M,{60 + n % 3},2150,2014 - 2016,\n" for n in people),
        "hosp/admissions": "subject_id,hadm_id,admittime,dischtime,deathtime,"
        "hospital_expire_flag\n"
        + "".join(
            f"{1000 + n},{2000 + n},2151-01-01 05:00:00,2151-01-09 05:00:00,,{n % 4 == 0:d}\n"
            for n in people
        ),
        "icu/icustays": "subject_id,hadm_id,stay_id,first_careunit,last_careunit,intime,outtime,"
        "los\n"
        + "".join(
            f"{1000 + n},{2000 + n},{3000 + n},Coronary Care Unit (CCU),x,"
            f"2151-01-01 06:00:00,2151-01-0{3 + n % 2 * 2} 06:00:00,2.0\n"
            for n in people
        ),
        "icu/chartevents": "stay_id,charttime,storetime,itemid,value,valuenum,valueuom\n" + chart,
        "hosp/labevents": "subject_id,hadm_id,charttime,storetime,itemid,valuenum\n" + lab,
        "icu/outputevents": "stay_id,charttime,storetime,itemid,value\n" + output,
    }
    for name, content in files.items():
        (folder / f"{name}.csv").write_text(content)
    return folder


def chart(item: int, *values: tuple[str, str], word: str = "", stored: str = "") -> str:
    return "".join(f"3000,{time},{stored},{item},{word or v},{v},\n" for time, v in values)
