"""Round 0 at the coordinator: what the sites' sums say of each other, and the agreed treatment.

Everything here stands on what each site's exit told: hidden cells are taken for unknown.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from flwr.app import ConfigRecord, Message, MessageType, RecordDict
from numpy.typing import NDArray

import datasets
from datasets import Feature, Normalisation, Statistics, Treatment
from fedtui import events
from fedtui.errors import DataError
from fedtui.flower import arrays
from fedtui.flower.grid import DirectGrid, Reply
from fedtui.flower.strategy import Scale, Terms, judge_metrics
from fedtui.flower.vectors import RefusedError, Vector
from models import Manifest, ModelError

# Standardised difference of two means above which groups are out of balance. Rubin, Using
# Propensity Scores to Help Design Observational Studies, 2001; Stuart, Statistical Science, 2010.
FEATURE_SHIFT = 0.25
# Population stability index: 'major shift'. Siddiqi, Credit Risk Scorecards, 2006.
LABEL_SHIFT = 0.25
_SURE = 3.0  # standard errors; thirty features at four sites would else find one by chance
_SCALED = 0.1  # from mean 0 and deviation 1: a site that scaled its own data, exactly or nearly
_FEWEST_SCALED = 3  # features


def judge(message: Message) -> tuple[int, dict[str, float], dict[str, Any]]:
    """Examples, metrics and body of a site's answer to round 0.

    Raises:
        RefusedError: it describes no data, or its sums cannot be used.
    """
    examples, metrics, content = judge_metrics(message)
    fields = content.get("fields")
    if not isinstance(fields, ConfigRecord):
        raise RefusedError("malformed", "the answer holds no description of the data.")
    values = dict(fields)
    try:
        Manifest.from_json(json.loads(str(values["manifest"])))
        columns = len([Feature(**f) for f in json.loads(str(values["features"]))])
        json.loads(str(values["classes"]))
        sums = {
            part: np.frombuffer(values[part], dtype="<f8")  # type: ignore[arg-type]
            for part in Statistics._fields
        }
    except (ValueError, TypeError, KeyError, RecursionError, ModelError) as error:
        raise RefusedError("malformed", "the description of the data cannot be read.") from error
    for part, numbers in sums.items():
        if len(numbers) != columns or not np.isfinite(numbers).all():
            raise RefusedError("statistics", f"the sums '{part}' cannot be used.")
    body: dict[str, Any] = {"fields": values}
    if "arrays" in content.array_records:
        body["arrays"] = content.array_records["arrays"]
    return examples, metrics, body


def pool(
    replies: Mapping[str, Reply], *, first: str, federated: bool
) -> tuple[Manifest, Vector, Scale | None]:
    """Round 0's answers as one: the manifest all agree on, the first model, the scale.

    Raises:
        DataError: the sites do not hold the same kind of data, or would build other models.
    """
    names = sorted(replies)
    fields = {name: replies[name].body["fields"] for name in names}
    if first not in fields:
        raise DataError(
            f"{first} was to draw the first model and gave no valid answer.",
            remedy="Mend that site ('fedtui logs' there says why), then submit the run again.",
        )
    manifest = Manifest.from_json(json.loads(fields[first]["manifest"]))
    for name in names:
        other = Manifest.from_json(json.loads(fields[name]["manifest"]))
        if difference := manifest.mismatch(other):
            raise DataError(
                f"{first} and {name} would train different models: {difference}.",
                remedy="Bring the data of both to the same features and classes.",
            )
        for part in ("features", "classes", "schema"):
            here, there = (fields[site].get(part, "") for site in (first, name))
            if here != there and (part != "schema" or (here and there)):  # stock peers tell none
                raise DataError(
                    f"{first} and {name} hold data with different {part}.",
                    remedy="Bring names, units, ranges and the size of images to the same at both.",
                )
    try:
        vector = arrays.from_record(replies[first].body["arrays"], size=manifest.size)
    except (RefusedError, KeyError) as error:
        raise DataError(
            f"The first model of {first} cannot be used: {error}",
            remedy="Check that site's log, then submit the run again.",
        ) from error
    if not federated:
        return manifest, vector, None
    pooled = Statistics(
        *(
            np.sum([np.frombuffer(fields[name][part], dtype="<f8") for name in names], axis=0)
            for part in Statistics._fields
        )
    )
    features = [Feature(**feature) for feature in json.loads(fields[first]["features"])]
    return manifest, vector, datasets.agree(pooled, features)


def warnings(run: str, replies: Mapping[str, Reply]) -> Iterator[events.ShiftFound]:
    """What should be looked at before round 1: one event a site and kind.

    Args:
        replies: Round 0's answers by site; bodies with the fields that an exit told.
    """
    told = {site: _Told(reply.body["fields"]) for site, reply in sorted(replies.items())}
    for site, own in told.items():
        others = [one for name, one in told.items() if name != site]
        if found := own.scaled():
            yield events.ShiftFound(
                run=run, site=site, kind="scaling", found=found, threshold=_SCALED
            )
        if not others:
            continue
        if found := own.shifted(others):
            yield events.ShiftFound(
                run=run, site=site, kind="features", found=found, threshold=FEATURE_SHIFT
            )
        if (index := own.relabelled(others)) is not None:
            yield events.ShiftFound(
                run=run, site=site, kind="labels", found={"labels": index}, threshold=LABEL_SHIFT
            )


class _Told:
    """One site's answer: sums by feature, and patients by class."""

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self.features = [Feature(**feature) for feature in json.loads(str(fields["features"]))]
        self.sums = Statistics(
            *(np.frombuffer(fields[name], dtype="<f8") for name in Statistics._fields)
        )
        labels = json.loads(str(fields.get("labels", "[]")))
        whole = bool(labels) and all(isinstance(count, int) and count >= 0 for count in labels)
        self.labels = np.array(labels, dtype=np.float64) if whole else None

    def scaled(self) -> dict[str, float]:
        """Numbers that look as if the site had scaled them by itself: their deviation."""
        mean, deviation = _moments(self.sums)
        known = [
            column
            for column, feature in enumerate(self.features)
            if feature.kind == "number" and self.sums.count[column] > 0
        ]
        found = {
            self.features[column].name: round(float(deviation[column]), 3)
            for column in known
            if abs(mean[column]) < _SCALED and abs(deviation[column] - 1) < _SCALED
        }
        return found if len(found) >= max(_FEWEST_SCALED, len(known) / 2) else {}

    def shifted(self, others: list["_Told"]) -> dict[str, float]:
        """Features whose mean is elsewhere than at the others: by how many deviations."""
        parts = zip(*(other.sums for other in others), strict=True)
        rest = Statistics(*(np.sum(part, axis=0) for part in parts))
        (mean, deviation), (far, spread) = _moments(self.sums), _moments(rest)
        found = {}
        for column, feature in enumerate(self.features):
            here, there = float(self.sums.count[column]), float(rest.count[column])
            pooled = math.sqrt((deviation[column] ** 2 + spread[column] ** 2) / 2)
            if here <= 0 or there <= 0 or pooled <= 0:
                continue
            difference = float(mean[column] - far[column]) / pooled
            # Hedges and Olkin, Statistical Methods for Meta-Analysis, 1985, chapter 5.
            error = math.sqrt(1 / here + 1 / there + difference**2 / (2 * (here + there)))
            if abs(difference) > max(FEATURE_SHIFT, _SURE * error):
                found[feature.name] = round(difference, 3)
        return dict(sorted(found.items(), key=lambda item: -abs(item[1])))

    def relabelled(self, others: list["_Told"]) -> float | None:
        """The population stability index of the classes, if it is large and not by chance."""
        known = [one.labels for one in others if one.labels is not None]
        if self.labels is None or not known:
            return None
        rest = np.sum(known, axis=0)
        here, there = self.labels.sum(), rest.sum()
        p, q = self.labels / here, rest / there
        if (p == 0).any() or (q == 0).any():
            return None
        index = float(((p - q) * np.log(p / q)).sum())
        # By chance it is a chi-square over the harmonic size: Yurdakul and Naranjo, Statistical
        # Properties of the Population Stability Index, 2020. Its 99.9 % point by Wilson-Hilferty.
        free = len(p) - 1
        part = 2 / (9 * free)
        chance = free * (1 - part + 3.09 * math.sqrt(part)) ** 3 * (1 / here + 1 / there)
        return round(index, 3) if index > max(LABEL_SHIFT, chance) else None


def judge_bins(message: Message, *, features: int) -> tuple[int, dict[str, float], Any]:
    """A site's histograms for the medians: examples, metrics, float64 [features, bins].

    Raises:
        RefusedError: they are not what an exit tells.
    """
    examples, metrics, content = judge_metrics(message)
    fields = content.get("fields")
    data = fields.get("bins") if isinstance(fields, ConfigRecord) else None
    if not isinstance(data, bytes) or len(data) != 8 * features * datasets.BINS:
        raise RefusedError("statistics", "the counts for the medians cannot be read.")
    counts = np.frombuffer(data, dtype="<f8").reshape(features, datasets.BINS)
    if not np.isfinite(counts).all() or (counts < 0).any():
        raise RefusedError("statistics", "the counts for the medians cannot be used.")
    return examples, metrics, counts


def treatment(
    grid: DirectGrid,
    terms: Terms,
    replies: Mapping[str, Reply],
    scale: Scale,
) -> Treatment:
    """What the study wants done beside scaling; for medians the sites count on the agreed scale.

    Args:
        terms: Of the run, before there is a scale.
        replies: Round 0's answers by site.
        scale: The agreed mean and deviation.
    """
    body = replies[min(replies)].body["fields"]
    features = [Feature(**feature) for feature in json.loads(str(body["features"]))]
    pooled = None
    if terms.study.imputation == "median":
        grid.judge = lambda _, message: judge_bins(message, features=len(features))
        terms = replace(terms, normalisation=scale)
        contents = {
            name: RecordDict({"config": terms.config(0, "prepare")})
            for name in grid.present(replies, round=0, phase="prepare")
        }
        told = grid.ask(contents, MessageType.QUERY, round=0, phase="prepare")
        pooled = np.sum([told[name].body for name in sorted(told)], axis=0)
    agreed = Normalisation(scale[0], scale[1])
    return datasets.treat(agreed, features, counts=pooled, clipping=terms.study.clipping)


def _moments(sums: Statistics) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    count = np.maximum(sums.count, 1.0)
    mean = sums.total / count
    return mean, np.sqrt(np.maximum(sums.square / count - mean * mean, 0.0))
