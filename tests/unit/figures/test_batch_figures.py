"""Figures of what training batches hold."""

import numpy as np
import pandas as pd

from dynaclr.figures import batches
from dynaclr.figures.batches import draw_pairs


def test_a_line_of_the_pairs_tells_the_marker_where_each_has_its_own(monkeypatch, tmp_path):
    drawn = []
    monkeypatch.setattr(batches, "save_figure", lambda figure, _: drawn.append(figure))
    known = {"experiment": "one", "condition": "mock", "hours": 4.0, "offset_hours": 0.5}
    pixels = {view: np.zeros((2, 1, 4, 4)) for view in ("anchor", "positive")}
    shown = pd.DataFrame([known | {"marker": "phase"}, known | {"marker": "reporter"}])
    draw_pairs(shown, pixels, (), tmp_path / "pairs.png")
    texts = [text.get_text() for axis in drawn[0].axes for text in axis.texts]
    assert texts == [
        f"one\nmock\n{marker}\n4.0 h\npositive +0.5 h" for marker in ("phase", "reporter")
    ]
