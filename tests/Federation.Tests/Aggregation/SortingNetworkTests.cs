using CsCheck;
using FedRLora.Federation.Numerics;

namespace FedRLora.Federation.Tests.Aggregation;

public sealed class SortingNetworkTests
{
    [Fact]
    public void Every_column_is_sorted() => Gen.Int[1, 40].SelectMany(static size => Gen.Float[-9, 9].Array[3].Array[size]).Sample(rows =>
    {
        float[][] sorted = [.. rows.Select(static row => row.ToArray())];
        var spare = new float[3];

        new SortingNetwork(rows.Length).SortColumns(sorted, ref spare, 3);

        for (var column = 0; column < 3; column++)
            Assert.Equal(rows.Select(row => row[column]).Order(), sorted.Select(row => row[column]));
    });

    [Fact]
    public void Zeros_of_either_sign_have_an_order()
    {
        float[][] rows = [[0f], [-0f], [1f], [-0f]];
        var spare = new float[1];

        new SortingNetwork(4).SortColumns(rows, ref spare, 1);

        Assert.Equal([true, true, false, false], rows.Select(static row => float.IsNegative(row[0])));
    }
}
