"""The optimisers, and the arguments that each can take."""

from hypothesis import strategies as st

from microtensor.nn.optim import SGD, Adagrad, Adam, AdamW, RMSprop

KINDS = [SGD, Adam, AdamW, RMSprop, Adagrad]

rates = st.sampled_from([0.0, 0.01, 0.1])
decays = st.sampled_from([0.0, 0.05])
momenta = st.sampled_from([0.0, 0.5, 0.9])
ADAM = {
    "lr": rates,
    "betas": st.sampled_from([(0.9, 0.999), (0.5, 0.8), (0.0, 0.0)]),
    "eps": st.sampled_from([1e-8, 1e-2]),
    "weight_decay": decays,
    "amsgrad": st.booleans(),
    "maximize": st.booleans(),
}
OPTIONS = {
    SGD: st.fixed_dictionaries(
        {},
        optional={
            "lr": rates,
            "momentum": momenta,
            "dampening": st.sampled_from([0.0, 0.3]),
            "weight_decay": decays,
            "nesterov": st.booleans(),
            "maximize": st.booleans(),
        },
    ).filter(lambda s: not s.get("nesterov") or (s.get("momentum") and not s.get("dampening"))),
    Adam: st.fixed_dictionaries({}, optional={**ADAM, "decoupled_weight_decay": st.booleans()}),
    AdamW: st.fixed_dictionaries({}, optional=ADAM),
    RMSprop: st.fixed_dictionaries(
        {},
        optional={
            "lr": rates,
            "alpha": st.sampled_from([0.5, 0.99]),
            "eps": st.sampled_from([1e-8, 1e-2]),
            "weight_decay": decays,
            "momentum": momenta,
            "centered": st.booleans(),
            "maximize": st.booleans(),
        },
    ),
    Adagrad: st.fixed_dictionaries(
        {},
        optional={
            "lr": rates,
            "lr_decay": st.sampled_from([0.0, 0.1]),
            "weight_decay": decays,
            "initial_accumulator_value": st.sampled_from([0.0, 0.5]),
            "eps": st.sampled_from([1e-10, 1e-2]),
            "maximize": st.booleans(),
        },
    ),
}
