import sys
from pathlib import Path
from typing import Literal

import pytest
import yaml
from pydantic import BaseModel, Field, PositiveInt, model_validator

from supercuts.core.config import load_config, save_resolved
from supercuts.core.errors import ConfigError


class SSN(BaseModel, frozen=True, extra="forbid"):
    superpixels: PositiveInt = 400
    iterations: PositiveInt = 10
    widths: tuple[PositiveInt, ...] = (16, 32)


class Stage(BaseModel, frozen=True, extra="forbid"):
    width: int


class Run(BaseModel, frozen=True, extra="forbid"):
    ssn: SSN = SSN()
    rate: float = Field(1e-3, gt=0)
    merging: Literal["agglomerative", "spectral"] = "agglomerative"
    limit: float | Literal["auto"] = "auto"
    stages: list[Stage] = []
    init: Path | None = None
    seed: int = 0

    @model_validator(mode="after")
    def check_limit(self) -> "Run":
        if self.limit == 13:
            raise ValueError("limit=13 clashes with rate; choose another limit")
        return self


@pytest.fixture
def write(tmp_path):
    def write_yaml(text: str) -> Path:
        path = tmp_path / "fast.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write_yaml


def message(path: Path, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(path, Run, overrides)
    return str(caught.value)


def test_file_sets_fields_and_leaves_defaults(write):
    run = load_config(write("ssn:\n  superpixels: 200\nmerging: spectral\n"), Run)
    assert run == Run(ssn=SSN(superpixels=200), merging="spectral")


def test_empty_file_gives_defaults(write):
    assert load_config(write(""), Run) == Run()


def test_overrides_win_over_the_file_and_later_over_earlier(write):
    path = write("ssn: {superpixels: 200, iterations: 3}\n")
    run = load_config(
        path, Run, ["ssn.superpixels=7", "rate=1e-4", "ssn.superpixels=8", "ssn.widths=[4, 5]", "init=a=b"]
    )
    assert run == Run(ssn=SSN(superpixels=8, iterations=3, widths=(4, 5)), rate=1e-4, init=Path("a=b"))


def test_override_creates_a_section_and_null_clears_a_value(write):
    run = load_config(write("init: x.safetensors\n"), Run, ["ssn.iterations=2", "init=null"])
    assert run == Run(ssn=SSN(iterations=2))


def test_override_of_an_alias_leaves_the_anchor(tmp_path):
    class Pair(BaseModel, frozen=True, extra="forbid"):
        a: SSN
        b: SSN

    path = tmp_path / "pair.yaml"
    path.write_text("a: &same {superpixels: 5}\nb: *same\n", encoding="utf-8")
    pair = load_config(path, Pair, ["b.superpixels=6"])
    assert (pair.a.superpixels, pair.b.superpixels) == (5, 6)


def test_result_is_frozen(write):
    with pytest.raises(ValueError, match="frozen"):
        load_config(write(""), Run).seed = 3


def test_unknown_key_names_file_section_and_neighbour(write):
    path = write("ssn:\n  superpixel: 3\n")
    assert message(path) == f"{path}: unknown key 'superpixel' under ssn; did you mean 'superpixels'?"


def test_unknown_key_without_neighbour_lists_the_keys(write):
    path = write("stages: [{width: 1, zzz: 2}]\n")
    assert message(path) == f"{path}: unknown key 'zzz' under stages.0; known keys: width"


def test_bad_value_gives_key_value_and_expectation(write):
    path = write("ssn: {superpixels: -3}\n")
    assert message(path) == f"{path}: ssn.superpixels=-3: expected greater than 0"


def test_all_problems_are_reported_each_on_its_line(write):
    path = write("rate: fast\nmergin: spectral\nstages: [{}]\n")
    lines = message(path).splitlines()
    assert len(lines) == 3
    assert lines[0].startswith(f"{path}: rate='fast': expected a valid number")
    assert lines[1] == f"{path}: missing key 'width' under stages.0; add it, it has no default"
    assert lines[2] == f"{path}: unknown key 'mergin'; did you mean 'merging'?"


def test_union_tags_of_pydantic_do_not_reach_the_message(write):
    path = write("limit: soon\n")
    assert [line.split(": expected")[0] for line in message(path).splitlines()] == [f"{path}: limit='soon'"] * 2


def test_rule_over_several_fields_keeps_its_own_words(write):
    path = write("limit: 13\n")
    assert message(path) == f"{path}: limit=13 clashes with rate; choose another limit"


def test_bad_override_is_named_instead_of_the_file(write):
    path = write("rate: 0.1\n")
    assert message(path, "ssn.superpixel=3") == (
        "override ssn.superpixel=3: unknown key 'superpixel' under ssn; did you mean 'superpixels'?"
    )
    assert message(path, "rate=-1") == "override rate=-1: rate=-1: expected greater than 0"


def test_error_names_the_override_that_set_the_value_last(write):
    text = message(write(""), "ssn.iterations=2", "ssn={iterations: 4, superpixels: 0}", "ssn.iterations=-1")
    assert text.splitlines() == [
        "override ssn={iterations: 4, superpixels: 0}: ssn.superpixels=0: expected greater than 0",
        "override ssn.iterations=-1: ssn.iterations=-1: expected greater than 0",
    ]


def test_merge_keys_of_yaml_work(write):
    run = load_config(write("ssn:\n  <<: {superpixels: 5, iterations: 1}\n  iterations: 2\n"), Run)
    assert run.ssn == SSN(superpixels=5, iterations=2)


@pytest.mark.parametrize(
    ("override", "remedy"),
    [
        ("ssn.superpixels", "expected key=value or key.sub=value"),
        ("=3", "expected key=value or key.sub=value"),
        ("ssn..superpixels=3", "expected key=value or key.sub=value"),
        ("rate.x=3", r"rate is 0\.1 and has no keys; set rate=\.\.\. itself"),
        ("merging=[", "quote it"),
    ],
)
def test_override_that_cannot_be_applied_is_refused(write, override, remedy):
    with pytest.raises(ConfigError, match=remedy):
        load_config(write("rate: 0.1\n"), Run, [override])


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("ssn:\n  superpixels: [1, 2\nrate: 1\n", ":3:"),
        ("rate: 1\nseed: 2\nrate: 3\n", ":3:1: not valid YAML: key 'rate' appears twice"),
        (
            "rate: 1\nseed: !!python/object/apply:os.getcwd []\n",
            ":2:7: not valid YAML: could not determine a constructor",
        ),
    ],
)
def test_yaml_error_gives_file_and_line(write, text, place):
    path = write(text)
    assert message(path).startswith(f"{path}{place}")


def test_file_that_is_not_text_is_refused(tmp_path):
    path = tmp_path / "weights.yaml"
    path.write_bytes(b"\x80\x02\xff\xfe")
    with pytest.raises(ConfigError, match="not valid YAML"):
        load_config(path, Run)


def test_an_image_is_named_with_the_command_that_takes_it(tmp_path):
    path = tmp_path / "photo.JPG"
    path.write_bytes(b"\xff\xd8\xff")
    with pytest.raises(
        ConfigError, match=r"photo\.JPG: is an image, not a configuration \(\.yaml\); supercuts segment"
    ):
        load_config(path, Run)


def test_list_instead_of_keys_is_refused(write):
    assert "expected keys and values" in message(write("- rate\n"))


def test_missing_file_lists_its_neighbours(write, tmp_path):
    write("")
    path = tmp_path / "fats.yaml"
    assert message(path) == f"{path}: no such file; {tmp_path} holds fast.yaml"


def test_model_that_accepts_unknown_keys_is_our_bug(write):
    class Loose(BaseModel, frozen=True):
        rate: float = 1

    with pytest.raises(AssertionError, match="Loose must refuse unknown keys"):
        load_config(write(""), Loose)


@pytest.mark.parametrize("run", [Run(), Run(ssn=SSN(widths=(1,)), limit=float("inf"), init=Path("ä.pt"), seed=5)])
def test_saved_config_loads_as_the_same_model(run, tmp_path):
    path = tmp_path / "new" / "config.yaml"
    save_resolved(run, path)
    assert load_config(path, Run) == run


def test_saved_file_holds_every_field_seed_and_version(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules["supercuts.core.config"], "package_version", lambda: "1.2.3")
    save_resolved(Run(seed=5), tmp_path / "own.yaml")
    save_resolved(SSN(), tmp_path / "given.yaml", seed=9)
    own, given = (yaml.safe_load((tmp_path / name).read_text()) for name in ("own.yaml", "given.yaml"))
    assert own.keys() == {*Run.model_fields, "provenance"}
    assert own["ssn"] == {"superpixels": 400, "iterations": 10, "widths": [16, 32]}
    assert own["provenance"] == {"supercuts": "1.2.3", "seed": 5}
    assert given["provenance"]["seed"] == 9


@pytest.mark.parametrize(
    "text",
    [
        "rate: !!float x",
        "rate: 2001-99-99",
        "rate: !!timestamp x",
        "rate: " + "9" * 5000,
        "rate: " + "[" * 5000,
        "rate: &a [*a]",
        "\n".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10) if i else 'x'}]" for i in range(9)),
        "a0: &a0 {x: 1}\n" + "\n".join(f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 10)}]}}" for i in range(1, 9)),
        "rate: " + "x" * (1 << 20),
    ],
    ids=["float", "date", "timestamp", "digits", "nested", "itself", "aliases", "merged", "large"],
)
def test_values_that_cannot_be_read_or_have_no_end_are_refused(tmp_path, text):
    path = tmp_path / "a.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"a\.yaml:.*not valid YAML"):
        load_config(path, Run)
