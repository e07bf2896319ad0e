import numpy as np
import pytest
import torch

from supercuts.networks.network import ViewsConfig
from supercuts.networks.ssn import SSN
from supercuts.networks.ssn_config import SSNConfig


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_one_view_is_the_networks_output(dtype):
    torch.manual_seed(0)
    network = SSN(SSNConfig(head_channels=(4, 4, 4, 4), embedding_channels=2, region_channels=3)).eval()
    image = np.random.default_rng(0).integers(0, 256, (23, 30, 3), np.uint8)
    unit = torch.from_numpy(image / np.float32(255)).permute(2, 0, 1)[None]
    given = image if dtype == np.uint8 else unit[0].permute(1, 2, 0).contiguous().numpy()
    boundary, embeddings, strength, regions = network.maps([given], ViewsConfig())[0]
    with torch.inference_mode():
        said = network(unit)
    assert [x.shape for x in (boundary, embeddings, strength, regions)] == [
        (23, 30), (2, 23, 30), (12, 15), (3, 12, 15),
    ]  # fmt: skip
    # the engine computes in bfloat16, of 8 bits
    np.testing.assert_allclose(boundary, said.boundary_logits.sigmoid()[0, 0], atol=0.02)
    np.testing.assert_allclose(strength, said.strength_logits.sigmoid()[0, 0], atol=0.02)
    np.testing.assert_allclose(embeddings, said.embeddings[0], atol=0.02 * float(said.embeddings.abs().max()))
    np.testing.assert_allclose(
        regions, said.region_embeddings[0], atol=0.02 * float(said.region_embeddings.abs().max())
    )
