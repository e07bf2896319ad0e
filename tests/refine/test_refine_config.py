from pathlib import Path

import pytest
from pydantic import ValidationError

from supercuts.core.config import load_config
from supercuts.core.errors import ConfigError
from supercuts.refine.refine_config import RefineConfig

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


@pytest.mark.parametrize("method", ["sp", "st"])
def test_the_configuration_of_each_method_loads(method):
    config = load_config(CONFIGS / f"refine_{method}.yaml", RefineConfig, ["mu=2", "M=0.5", "partition.method=slic"])
    assert (config.method, config.mu, config.M, config.partition.method) == (method, 2, 0.5, "slic")


def test_unknown_keys_are_refused_with_a_suggestion():
    with pytest.raises(ConfigError, match="did you mean 'min_classes'"):
        load_config(CONFIGS / "refine_st.yaml", RefineConfig, ["min_clases=2"])


def test_a_loss_that_names_no_labels_is_refused():
    with pytest.raises(ValidationError, match="set one above 0"):
        RefineConfig(mu=0, scribble=0)


def test_one_weight_of_the_linkage_leaves_the_others():
    changed = load_config(None, RefineConfig, ["linkage.embedding=0.1"]).linkage
    assert changed == RefineConfig().linkage.model_copy(update={"embedding": 0.1})
