"""timm is imported only when needed, and beside any torchvision."""

import subprocess
import sys
import textwrap


def run(script, *path):
    """Run a script in a fresh interpreter, with folders in front of its module path."""
    prelude = f"import sys; sys.path[:0] = {[str(p) for p in path]}\n"
    return subprocess.run(
        [sys.executable, "-c", prelude + textwrap.dedent(script)], capture_output=True, text=True
    )


def test_small_encoder_needs_no_timm():
    done = run("""
        import sys
        from dynaclr.models import SmallEncoder
        SmallEncoder()
        assert not {"timm", "torchvision"} & set(sys.modules)
    """)
    assert done.returncode == 0, done.stderr


def test_installed_timm_imports_and_builds_a_model():
    done = run("""
        from dynaclr.models._timm import import_timm
        model = import_timm().create_model("convnext_atto", num_classes=0)
        assert import_timm().__name__ == "timm" and model.num_features == 320
    """)
    assert done.returncode == 0, done.stderr


FAILS_WITHOUT_OPERATORS = """
import torch
torch.library.register_fake("torchvision::nms")(lambda dets, scores, iou_threshold: dets)
torch.library.register_fake("torchvision::qnms")(lambda dets, scores, iou_threshold: dets)
"""


def test_missing_operators_are_declared(tmp_path):
    (tmp_path / "timm.py").write_text(FAILS_WITHOUT_OPERATORS)
    done = run(
        """
        from dynaclr.models._timm import import_timm
        try:
            import timm
        except RuntimeError:
            import_timm()
        else:
            raise SystemExit("the stand-in should not import by itself")
        """,
        tmp_path,
    )
    assert done.returncode == 0, done.stderr


def test_a_timm_that_imports_is_left_alone(tmp_path):
    (tmp_path / "timm.py").write_text("")
    done = run(
        """
        import torch
        from dynaclr.models._timm import import_timm
        import_timm()
        assert not hasattr(torch.ops.torchvision, "nms")
        """,
        tmp_path,
    )
    assert done.returncode == 0, done.stderr


def test_other_failures_are_not_hidden(tmp_path):
    (tmp_path / "timm.py").write_text("raise RuntimeError('something else')")
    done = run("from dynaclr.models._timm import import_timm; import_timm()", tmp_path)
    assert "RuntimeError: something else" in done.stderr
