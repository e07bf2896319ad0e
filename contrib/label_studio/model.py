"""A machine learning backend of Label Studio that answers clicks and boxes with regions of a hierarchy.

Create the backend's folder with `label-studio-ml create DIR`, replace its model.py by this file, and start it with
`label-studio-ml start DIR`. The labelling configuration needs smart tags for the clicks:

    <View>
      <Image name="image" value="$image"/>
      <BrushLabels name="brush" toName="image"><Label value="object"/></BrushLabels>
      <KeyPointLabels name="click" toName="image" smart="true"><Label value="object"/></KeyPointLabels>
      <RectangleLabels name="box" toName="image" smart="true"><Label value="object"/></RectangleLabels>
    </View>
"""

from functools import lru_cache
from typing import Any

from label_studio_ml.model import LabelStudioMLBase

import supercuts
from supercuts.export.annotation_tools import brush_result


@lru_cache(maxsize=1)
def load():
    """Return the model, which is loaded once."""
    return supercuts.load("compact")


@lru_cache(maxsize=16)
def hierarchy(path: str) -> supercuts.Hierarchy:
    """Return the hierarchy of an image; later clicks on it are answered at once."""
    return load().segment(path)


def answer(h: supercuts.Hierarchy, drawn: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the brush mask for what was drawn: positive and negative clicks, or one box."""
    height, width = h.shape
    points: dict[int, list[tuple[float, float]]] = {1: [], 2: []}
    box = None
    label = "object"
    for result in drawn:
        value = result["value"]
        x, y = value["x"] * width / 100, value["y"] * height / 100
        label = value.get(result["type"], [label])[0]
        if result["type"] == "rectanglelabels":
            box = (y, x, y + value["height"] * height / 100, x + value["width"] * width / 100)
        elif result["type"] == "keypointlabels":
            # a click on the right or lower edge lies at 100 %
            is_positive = bool(result.get("is_positive", 1))
            points[1 if is_positive else 2].append((min(y, height - 1), min(x, width - 1)))
    if points[1]:
        mask = h.select(points=points)
    elif box is not None:
        mask = h.select(box=box)
    else:
        return []
    return [brush_result(mask, label, "supercuts")]


class SuperCuts(LabelStudioMLBase):
    """Answers the clicks of a person; without any, it predicts nothing."""

    def predict(self, tasks, context=None, **kwargs):
        """Return one prediction for the task that is annotated."""
        drawn = (context or {}).get("result", [])
        predictions = []
        for task in tasks:
            address = next(iter(task["data"].values()))
            path = self.get_local_path(address, task_id=task.get("id"))
            results = answer(hierarchy(str(path)), drawn) if drawn else []
            predictions.append({"model_version": "SuperCuts", "result": results})
        return predictions
