import timm
import torch

from fistula.learning.modes import AllLayers


def test_every_parameter_trains_once_and_only_matrices_decay():
    network = timm.create_model("test_resnet", num_classes=2)
    decaying, others = AllLayers(pretrained=False).parameter_groups(network)
    assert len(decaying["params"]) + len(others["params"]) == len(list(network.parameters()))
    optimizer = torch.optim.AdamW([decaying, others], lr=0.1, weight_decay=0.5)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.5, 0.0]
    undecayed = {name for name, value in network.named_parameters() if any(value is kept for kept in others["params"])}
    norms_and_biases = {name for name, _ in network.named_parameters() if "bn" in name or name.endswith("bias")}
    assert undecayed >= norms_and_biases
    assert "conv1.weight" not in {name for name in undecayed if network.get_parameter(name).ndim > 1}


def test_a_frozen_parameter_is_left_out():
    network = timm.create_model("test_resnet", num_classes=2)
    network.fc.requires_grad_(False)
    trained = [value for group in AllLayers(pretrained=False).parameter_groups(network) for value in group["params"]]
    assert not any(value is network.fc.weight or value is network.fc.bias for value in trained)
