"""Metric tables keep names as text, and are refused where another version wrote them."""

import pytest

from dynaclr.config import UserError
from dynaclr.io.metric_tables import read_metrics


def test_names_stay_text(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("model,task,metric,value,per_seed\nNA,,f1:late,0.5,0.50\n20240101,,auroc,,1\n")
    table = read_metrics(path, "per_seed")
    assert table["model"].tolist() == ["NA", "20240101"]
    assert table["per_seed"].tolist() == ["0.50", "1"]
    assert table["task"].isna().all()
    assert table["value"].iloc[0] == 0.5


def test_a_metric_of_another_version_is_refused(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("model,metric,value\na,auroc,0.5\na,scib_total:x,0.5\n")
    with pytest.raises(UserError, match=r"metrics\.csv: holds scib_total, .* Evaluate the model"):
        read_metrics(path)
