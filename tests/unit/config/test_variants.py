"""Names of variants."""

from dynaclr.config.variants import ordered_variants, parse_variant


def test_kinds_and_seeds_are_read_from_names():
    assert parse_variant("seed12") == ("seed12", "trained", 12)
    assert parse_variant("seed3-untrained") == ("seed3-untrained", "untrained", 3)
    assert parse_variant("pixels-pca") == ("pixels-pca", "pixels-pca", None)
    assert parse_variant("ceiling-dead+zscore").kind == "ceiling+zscore"
    names = ["ceiling-dead", "intensity", "pixels-pca", "seed10", "seed2-untrained", "seed2"]
    assert [v.name for v in ordered_variants(names)] == [
        *("seed2", "seed10", "seed2-untrained", "intensity", "ceiling-dead", "pixels-pca")
    ]


def test_a_task_is_scored_with_its_own_ceiling_and_every_other_variant():
    assert parse_variant("ceiling-dead").is_for("dead")
    assert parse_variant("ceiling-dead+zscore").is_for("dead.phase")
    assert not parse_variant("ceiling-dead").is_for("deadly")
    assert all(parse_variant(name).is_for("dead") for name in ("seed0", "intensity", "pixels"))
