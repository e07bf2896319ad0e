from supercuts.networks.backbones import names, registry


def test_every_version_of_dino_is_named():
    assert names.DINO["dino_vits16"][0] == "vit_small_patch16_224.dino"
    assert {name.split("_")[0] for name in names.DINO} == {"dino", "dinov2", "dinov3"}
    assert all(url == "" or url.startswith("https://dl.fbaipublicfiles.com/") for _, url in names.DINO.values())


def test_the_registry_has_the_same_names():
    assert registry.DINO is names.DINO
