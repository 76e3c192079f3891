using FedRLora.Training.Steps;
using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Training.Tests.Steps;

public sealed class WorkspaceTests
{
    private const long Large = (1 << 22) + 1000; // more than a piece of memory is made of

    [Fact]
    public void What_is_given_out_does_not_overlap_until_it_is_given_back()
    {
        using var scope = NewDisposeScope();
        using var workspace = new Workspace(CPU, ScalarType.Float32);
        var (first, mark) = (workspace.Take(3, 5).fill_(Living.Of(1)), workspace.Top);
        var second = workspace.Take(2, 7).fill_(Living.Of(2));
        var large = workspace.Take(1, Large).fill_(Living.Of(3));
        Assert.Equal(
            (15, 28, 3f * Large), (first.sum().item<float>(), second.sum().item<float>(), large.sum(ScalarType.Float64).item<double>()));

        workspace.Release(mark);
        Assert.Equal(Address(second), Address(workspace.Take(2, 7)));
        Assert.Equal(15, first.sum().item<float>());
    }

    [Fact]
    public void Passes_that_grow_hold_no_more_than_the_largest_needs()
    {
        using var scope = NewDisposeScope();
        using var workspace = new Workspace(CPU, ScalarType.Float32);
        for (var rows = 1; rows <= 8; rows++)
        {
            workspace.Reset();
            for (var i = 0; i < 5; i++) workspace.Take(rows, Large);
            Assert.InRange(workspace.MostBytes, 5 * rows * Large * sizeof(float), 5.01 * rows * Large * sizeof(float));
        }

        workspace.Reset();
        Assert.InRange(workspace.HeldBytes, 40 * Large * sizeof(float), 41 * Large * sizeof(float));
    }

    private static unsafe nint Address(Tensor tensor)
    {
        fixed (byte* first = tensor.bytes) return (nint)first;
    }

    [Fact]
    public void What_the_layer_below_reads_is_carried_over_two_layers_boundaries()
    {
        using var scope = NewDisposeScope();
        using var workspace = new Workspace(CPU, ScalarType.Float32);
        var mark = workspace.Top;
        var kept = workspace.Take(2, 50).fill_(Living.Of(5));
        workspace.IsBackward = true;
        workspace.Take(2, 50).fill_(Living.Of(1));
        var needed = workspace.Take(2, 50).fill_(Living.Of(2));

        var carried = Assert.Single(workspace.EndLayer(mark, [needed]));
        workspace.Take(2, 50).fill_(Living.Of(3));
        workspace.Take(2, 50).fill_(Living.Of(4));
        Assert.Equal((200, 400), (carried.sum().item<float>(), needed.sum().item<float>()));

        var next = Assert.Single(workspace.EndLayer(mark, [carried.Plus(Living.Of(1))]));
        Assert.Equal((200, 300), (carried.sum().item<float>(), next.sum().item<float>()));
        workspace.IsBackward = false;
        workspace.Take(2, 50).fill_(Living.Of(6));
        Assert.Equal(600, kept.sum().item<float>()); // the layer's forward memory is free
    }
}
