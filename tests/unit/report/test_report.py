"""The report as text: what is in it, and that nothing outside of it is needed."""

import json
import re
import shutil

import pandas as pd
import pytest

from dynaclr.config import UserError
from dynaclr.report import content, scores, write_report
from dynaclr.report.explorer import _within_budget
from dynaclr.report.tables import MAX_ROWS, metric_table, number


@pytest.fixture(scope="module")
def text(made):
    return made.page.read_text()


def test_nothing_is_loaded_from_elsewhere(text):
    assert set(re.findall(r'(?:src|href)="(\w+:)', text)) == {"data:"}
    assert "@import" not in text
    assert "default-src 'none'" in text
    assert "url(" not in text.split("</style>")[0]


def test_same_results_give_the_same_bytes(made, tmp_path):
    write_report(made.plan, made.results, tmp_path / "again.html")
    assert (tmp_path / "again.html").read_bytes() == made.page.read_bytes()


def test_provenance_cannot_end_a_script(text):
    assert "2.0</script>" not in text
    assert "2.0&lt;/script&gt;" in text


def test_each_part_is_there(text, made):
    for name in made.plan.figures:
        assert f"results/{name}" in text
    for words in ("0123abc", "Nothing had to be repaired", "AUROC", "What the collection holds"):
        assert words in text
    manifest = json.loads(re.search(r'id="data-manifest">(.*?)</script>', text)[1])
    (model,) = manifest["models"]
    assert [column["name"] for column in model["columns"]][:5] == [
        *("experiment", "condition", "hours"),
        *("response (truth)", "response (predicted)"),
    ]
    titles = [one["title"] for one in model["maps"]]
    assert titles[:3] == ["PCA, trained, seed 0", "UMAP, trained, seed 0", "PHATE, trained, seed 0"]
    assert len(model["chosen"]) > 1


def test_repairs_are_shown_with_file_and_line(made, tmp_path):
    results = tmp_path / "results"
    shutil.copytree(made.results, results)
    summary = results / "experiments/one/summary.json"
    found = json.loads(summary.read_text())
    examples = [{"file": "A/1/0/tracks.csv", "line": 7}]
    found["repairs"] = {"unknown_parent": {"count": 3, "examples": examples}}
    summary.write_text(json.dumps(found))
    table = content.experiments_table(made.plan, results)
    assert table.rows[0][table.columns.index("repairs")].text == "3"
    part = content.experiment_parts(made.plan, results)[0]
    assert [cell.text for cell in part.tables[1].rows[0]] == [
        *("unknown parent", "3", "A/1/0/tracks.csv, line 7")
    ]


def test_roles_of_experiments_are_those_that_models_give_them(made):
    def roles(plan):
        table = content.experiments_table(plan, made.results)
        return [row[table.columns.index("role")].text for row in table.rows]

    assert roles(made.plan) == ["train", "train", "validation"]
    unused = made.plan.model_copy(update={"collections": [], "held_out": ["one"]})
    assert roles(unused) == ["held out", "not used", "not used"]


def test_new_families_and_a_comparison_are_shown_and_need_not_be_there(made, tmp_path):
    assert len(scores.difference_tables(made.plan, made.results)) == 1
    results = tmp_path / "results"
    shutil.copytree(made.results, results)
    folder = results / "evaluation/small"
    rows = pd.read_csv(folder / "metrics.csv").assign(family="novel_thing", expected=0.5)
    rows.to_csv(folder / "metrics.csv", index=False)
    (results / "comparison").mkdir()
    rows.head(3).to_csv(results / "comparison/metrics.csv", index=False)
    shutil.copy(folder / "differences.csv", results / "comparison")
    (results / "comparison/figures").mkdir()
    shutil.copy(folder / "mixing.svg", results / "comparison/figures/auroc.svg")
    plan = made.plan.model_copy(update={"comparison": True})
    write_report(plan, results, results / "report.html")
    text = (results / "report.html").read_text()
    assert "<h3>Novel thing</h3>" in text
    assert "<h3>All models</h3>" in text
    assert "results/comparison/figures/auroc.svg" in text


@pytest.mark.parametrize("damage", ["gone", "cut"])
@pytest.mark.parametrize(
    "product",
    [
        *("experiments/one/summary.json", "experiments/one/thumbnails.parquet"),
        *("collections/all/manifest.json", "models/small/seed0/provenance.json"),
        *("models/small/seed0/metrics.csv", "evaluation/small/metrics.csv"),
        *("evaluation/small/differences.csv", "evaluation/small/headline.json"),
        *("evaluation/small/maps.h5ad", "evaluation/small/embedding.png"),
    ],
)
def test_a_missing_or_damaged_product_is_named(made, tmp_path, product, damage):
    results = tmp_path / "results"
    shutil.copytree(made.results, results)
    path = results / product
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:30])
    with pytest.raises(UserError, match=product):
        write_report(made.plan, results, tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_a_missing_figure_is_named(made, tmp_path):
    plan = made.plan.model_copy(update={"figures": ["experiments/one/absent.svg"]})
    with pytest.raises(UserError, match=r"absent\.svg: no such figure. Run the stage"):
        write_report(plan, made.results, tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_intervals_are_drawn_to_scale():
    frame = pd.DataFrame(
        {"metric": ["a", "a", "b"], "value": [0.5, 0.9, -2.0], "low": [0.25, 0.8, -4.0]}
        | {"high": [0.75, 1.0, 0.0], "expected": [0.5, None, None]}
    )
    table = metric_table("t", "", frame, {"metric": "", "absent": ""})
    first, _, last = [row[1] for row in table.rows]
    assert first.text == "0.500 (0.250 to 0.750)"
    assert first.bar == {"low": 0.25, "value": 0.5, "high": 0.75, "expected": 0.5}
    assert last.bar == {"low": 0.0, "value": 0.5, "high": 1.0}
    assert table.columns == ["metric", "value"]
    assert table.filters == {"metric": ""}


def test_pictures_beyond_the_budget_are_left_out_by_whole_lineages():
    table = pd.DataFrame(
        {"experiment": "e", "fov": "A/1/0", "lineage_id": [n // 5 for n in range(100)]}
    )
    table["image"] = [b"x" * 100] * 100
    kept = _within_budget(table, 5000)
    assert 0 < kept["image"].str.len().sum() <= 5000
    assert (kept.groupby("lineage_id").size() == 5).all()
    assert len(_within_budget(table, 10_000)) == 100


def test_a_table_that_is_too_long_keeps_what_is_asked_for_first():
    """Cross-validated scores stand first in a metrics table, and nulls last."""
    positions = [
        ("model", "kind", "estimate", "metric"),
        *[
            (f"m{model}", kind, estimate, metric)
            for model in range(14)
            for metric in ("f1", "auroc", "auroc_null")
            for estimate in (*("cross_validated", "leave_one_experiment_out") * 3, "held_out")
            for kind in ("trained", "trained+zscore", "intensity", *["pixels+transport"] * 9)
        ],
    ]
    frame = pd.DataFrame(positions[1:], columns=positions[0]).assign(value=0.5)
    assert len(frame) > MAX_ROWS
    table = metric_table("t", "", frame, {"estimate": "held_out"})
    shown = pd.DataFrame([[cell.text for cell in row] for row in table.rows], columns=table.columns)
    assert len(shown) == MAX_ROWS
    assert table.n_left_out == len(frame) - MAX_ROWS
    shown = shown[shown["estimate"] == "held_out"]
    expected = frame[frame["estimate"] == "held_out"]
    assert len(shown) == len(expected)
    assert set(zip(shown["model"], shown["metric"], strict=True)) == {
        (f"m{model}", metric) for model in range(14) for metric in ("f1", "auroc", "auroc_null")
    }
    plain = shown[shown["metric"] == "auroc"]
    assert list(plain["kind"][: 14 * 2]) == ["trained", "intensity"] * 14


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *[(0.0, "0"), (0.0512, "0.0512"), (0.5, "0.500"), (-0.5, "-0.500"), (12.3456, "12.35")],
        *[(1234.5, "1,234"), (123456.7, "123,457"), (-12345.6, "-12,346"), (7.0, "7")],
        *[(1e12, "1e+12"), (float("inf"), "inf")],
    ],
)
def test_numbers_are_rounded_not_truncated(value, text):
    assert number(value) == text
