using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Adapters;
using static TorchSharp.torch;

namespace FedRLora.Training.Tests.Adapters;

public sealed class TensorDataTests
{
    [Fact]
    public void A_product_has_the_same_bits_wherever_the_arrays_of_its_numbers_lie()
    {
        using var scope = NewDisposeScope();
        using var generator = new Generator(3, CPU);
        var (rows, values) = (TensorData.Values(randn([1, 61, 515], ScalarType.Float32, CPU, generator: generator)),
            TensorData.Values(randn([1, 515, 1], ScalarType.Float32, CPU, generator: generator)));

        // Small arrays between them move each pair to another place.
        var products = Enumerable.Range(0, 40).Select(number =>
        {
            _ = new byte[8 * number];
            var (left, right) = (new NamedArray([1, 61, 515], [.. rows]), new NamedArray([1, 515, 1], [.. values]));
            return TensorData.Values(TensorData.OnDevice(left, CPU).bmm(TensorData.OnDevice(right, CPU)));
        }).ToList();

        Assert.All(products, product => Assert.Equal(products[0], product));
    }
}
