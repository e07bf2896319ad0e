import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "wnet.yaml"
    (tmp_path / "images").mkdir()
    for i in range(2):
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (8, 8, 3), np.uint8)).save(
            tmp_path / f"images/{i}.png"
        )
    path.write_text(
        f"out: {tmp_path / 'run'}\nmodel: {{method: wnet, classes: 2, widths: [2, 2]}}\nepochs: 1\nbatch_size: 2\n"
        f"data: {{dataset: folder, root: {tmp_path / 'images'}, side_px: 8}}\npictures: 1\n"
    )
    return path


def test_trains_and_says_where_the_weights_are(run, config, tmp_path):
    result = run("refine-train", config)
    assert result.exit_code == 0, result.stderr
    assert f"{tmp_path / 'run' / 'model.safetensors'}: trained weights" in result.stdout
    assert (tmp_path / "run/segmentations/0_labels.png").is_file()
    result = run("refine-train", config, "--no-resume")
    assert result.exit_code == 2
    assert "already holds last.ckpt" in result.stderr


def test_wrong_settings_are_usage_errors(run, config):
    result = run("refine-train", config, "model.clases=3")
    assert result.exit_code == 2
    assert "unknown key 'clases' under model; did you mean 'classes'?" in result.stderr
    result = run("refine-train", config, "data.side_px=9")
    assert (result.exit_code, "data.side_px=9: wnet takes a multiple of 2" in result.stderr) == (2, True)
    result = run("refine-train", config.with_name("none.yaml"))
    assert (result.exit_code, "no such file" in result.stderr) == (2, True)


def test_a_missing_trainer_names_the_extra(run, config, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "lightning" else True)
    result = run("refine-train", config)
    assert (result.exit_code, 'pip install "supercuts[train]"' in result.stderr) == (1, True)
