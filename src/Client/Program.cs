using var scope = TorchSharp.torch.NewDisposeScope();
var t = TorchSharp.torch.ones(2, 2);
Console.WriteLine(t.sum().item<float>() + " " + TorchSharp.torch.get_num_threads());
