"""Transfer learning: a network that was trained for one task is adapted to another, for which there is little data.

    model = models.efficientnet_lite0()                    with published weights, or your own
    replace_head(model, num_classes=2)                     a new last layer, for the new classes
    freeze_base(model)                                     only the head is trained
    features = cache_features(model, dataset)              the inputs of the head, computed once per image
    fit(head_of(model), DataLoader(features, 32), …)       seconds, where the whole network takes minutes

and then, if there is enough data to fine-tune the base too:

    optimizer = Adam(layer_groups(model, lr=1e-3))         smaller learning rates for earlier layers
    fit(model, …, callbacks=[UnfreezeGradually(every=2), EarlyStopping(patience=5)])

The features of the first layers are useful for many tasks, those of the last layers are specific to one (Yosinski et al. 2014,
"How transferable are features in deep neural networks?", arxiv.org/abs/1411.1792).
"""

from .cached_features import Features, cache_features
from .groups import UnfreezeGradually, layer_groups
from .head import freeze_base, head_of, replace_head

__all__ = ["Features", "UnfreezeGradually", "cache_features", "freeze_base", "head_of", "layer_groups", "replace_head"]
