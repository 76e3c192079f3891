using FedRLora.Abstractions;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Adapters;
using FedRLora.Training.Models;

namespace FedRLora.Training.Tests.Adapters;

public sealed class AdapterStartTests
{
    [Fact]
    public void A_given_adapter_with_other_tensors_than_the_method_is_refused_by_the_tensor()
    {
        Assert.Equal(2, Layout("A", "B").Tensors.Count);
        Assert.Equal("from: the adapter has no tensor layer.B, which the method has; name a method of A and B", Refusal("A"));
        Assert.Equal(
            "from: the adapter has a tensor layer.C, for which the method has no place; name a method of A and B", Refusal("A", "B", "C"));
    }

    private static string Refusal(params string[] roles) => Assert.Throws<BadInputException>(() => Layout(roles)).Message;

    private static AdapterLayout Layout(params string[] roles) => AdapterLayout.For(
        new() { Rank = 1 }, [new LinearShape("layer", 3, 2)],
        new AdapterStart(new AdapterState(roles.Select(static role => KeyValuePair.Create("layer." + role, One))), null));

    private static NamedArray One { get; } = new([1], [1f]);
}
