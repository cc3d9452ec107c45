from fistula.report.names import distinct_names


def record(learning, **identity):
    return {"factors": {"model": "resnet18", "learning": learning}, "identity": identity}


def test_configurations_are_named_by_the_factors_in_which_they_differ():
    assert distinct_names([record("transfer"), record("end_to_end")]) == ["transfer", "end-to-end"]


def test_settings_tell_apart_what_the_factors_do_not():
    records = [
        record("transfer", **{"optimizer.lr": 0.1, "ema": 0.0, "seed": 0}),
        record("transfer", **{"optimizer.lr": 0.2, "ema": 0.0, "seed": 1}),
        record("end_to_end", **{"optimizer.lr": 0.3}),
    ]
    assert distinct_names(records) == ["transfer · optimizer.lr 0.1", "transfer · optimizer.lr 0.2", "end-to-end"]


def test_a_single_configuration_goes_by_its_network():
    assert distinct_names([record("transfer", seed=0)]) == ["resnet18"]
