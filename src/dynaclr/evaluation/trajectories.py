"""Trajectories: every observation registered by the onset of its track, and by the course."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from dynaclr.config.variants import Variant
from dynaclr.evaluation.inputs import EvaluationInputs
from dynaclr.evaluation.metrics.alignment import align_tracks
from dynaclr.evaluation.metrics.bootstrap import MAX_BOOTSTRAP, cluster_bootstrap, seed_of
from dynaclr.evaluation.metrics.temporal import weighted_correlation
from dynaclr.evaluation.tables import MetricValue, Row, metric_rows, value_with_interval
from dynaclr.evaluation.track_onsets import ResponseReference, TrackOnsets
from dynaclr.io.embeddings import key_of


def trajectory_table(
    inputs: EvaluationInputs, variant: Variant, tracks: TrackOnsets, reference: ResponseReference
) -> pd.DataFrame:
    """Place every observation of one experiment in the time of its response.

    Parameters
    ----------
    inputs : EvaluationInputs
    variant : Variant
    tracks : TrackOnsets
        Of the experiment.
    reference : ResponseReference

    Returns
    -------
    pandas.DataFrame
        The key of every observation, the columns of the variant, ``hours_since_onset`` (NaN where
        the onset of its track was not seen) and ``pseudotime`` (position on the template, in hours
        since its onset; NaN without a template). Index: positions of the observations.
    """
    rows = np.concatenate(tracks.rows)
    onsets = [np.nan if onset is None else onset.hours for onset in tracks.onsets]
    since_onset = np.repeat(onsets, [len(track) for track in tracks.rows])
    pseudotime = np.full(len(rows), np.nan)
    if reference.template is not None:
        hours = [inputs.hours[track] for track in tracks.rows]
        given = (hours, tracks.changes, reference.template, tracks.limits.noise)
        pseudotime = reference.template.hours[np.concatenate(align_tracks(*given))]
    table = inputs.obs.loc[rows, key_of(inputs.obs)]
    return table.assign(
        **variant.columns,
        hours_since_onset=inputs.hours[rows] - since_onset + reference.delay,
        pseudotime=pseudotime,
    ).sort_index()


def pseudotime_rows(
    inputs: EvaluationInputs, variant: Variant, experiment: str, table: pd.DataFrame
) -> list[Row]:
    """Row about the rank correlation of pseudotime with the true progression of treated cells.

    Spearman's; that of the hours alone is what is expected.

    Parameters
    ----------
    inputs : EvaluationInputs
    variant : Variant
    experiment : str
    table : pandas.DataFrame
        Of `trajectory_table`.

    Returns
    -------
    list of dict
        None without a column of true progression, or a control.
    """
    if "progression" not in inputs.truth or inputs.control is None:
        return []
    rows = table.index[~inputs.control[table.index]].to_numpy()
    pseudotime, true = table.loc[rows, "pseudotime"].to_numpy(), inputs.truth["progression"][rows]
    known = np.isfinite(true) & np.isfinite(pseudotime)
    columns = {**variant.columns, "experiment": experiment, "estimate": inputs.scope}
    if np.unique(true[known]).size < 2:
        value = MetricValue(np.nan, note="no pseudotime, or no treated cells of known progression")
        return metric_rows({"pseudotime_correlation": value}, **columns)
    rows, true_ranks = rows[known], rankdata(true[known])
    ranks, hours = rankdata(pseudotime[known]), rankdata(inputs.hours[rows])
    resampled = cluster_bootstrap(
        lambda weight: {"correlation": weighted_correlation(ranks, true_ranks, weight)},
        inputs.lineages[rows],
        min(MAX_BOOTSTRAP, inputs.config.bootstrap),
        seed_of(experiment, inputs.seed),
    )["correlation"]
    everything = np.ones(len(rows))
    value = value_with_interval(
        float(weighted_correlation(ranks, true_ranks, everything)),
        float(weighted_correlation(hours, true_ranks, everything)),
        *(len(rows), resampled, len(np.unique(inputs.lineages[rows])), "expected: of the hours"),
    )
    return metric_rows({"pseudotime_correlation": value}, **columns)
