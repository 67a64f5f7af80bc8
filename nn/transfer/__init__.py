"""Transfer learning: what a network learned of one task, put to use on another, of which there is little data.

    model = models.efficientnet_lite0()                    with published weights, or your own
    replace_head(model, num_classes=2)                     scores for the new classes; all else as it was
    freeze_base(model)                                     only the head learns
    features = cache_features(model, dataset)              what comes to the head, computed once per image
    fit(head_of(model), DataLoader(features, 32), …)       seconds, where the whole network takes minutes

and then, where there is data enough to move the base too, in small steps:

    optimizer = Adam(layer_groups(model, lr=1e-3))         the nearer to the pixels, the smaller the steps
    fit(model, …, callbacks=[UnfreezeGradually(every=2), EarlyStopping(patience=5)])

`EarlyStopping` trains until it overfits, then steps back to the best weights.

The lower layers of a trained network are of use for many tasks, the upper ones belong to its own (Yosinski et al. 2014, "How
transferable are features in deep neural networks?", arxiv.org/abs/1411.1792).
"""

from .cached_features import Features, cache_features
from .groups import UnfreezeGradually, layer_groups
from .head import freeze_base, head_of, replace_head

__all__ = ["Features", "UnfreezeGradually", "cache_features", "freeze_base", "head_of", "layer_groups", "replace_head"]
