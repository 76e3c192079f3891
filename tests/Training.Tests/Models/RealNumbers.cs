using System.Text.Json;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Adapters;
using static TorchSharp.torch;

namespace FedRLora.Training.Tests.Models;

/// <summary>Numbers too many to store, as the references of real models have them.</summary>
internal static class RealNumbers
{
    /// <summary>A tensor's values.</summary>
    public static float[] Values(Tensor values) => TensorData.Values(values.detach());

    /// <summary>Rows of real tokens.</summary>
    public static float[] Real(Tensor values, Tensor mask) =>
        Values(values.reshape(-1, values.shape[^1])[mask.to(ScalarType.Bool).reshape(-1)]);

    /// <summary>The logits at the stored ids, and the logarithm of the sum of all exponentials; returns the largest difference.</summary>
    public static double AssertSummary(SafetensorsFile io, Tensor logits, Tensor mask)
    {
        using var scope = NewDisposeScope();
        Tensor Floats(string name) => tensor(io.ReadFloat32(name), [.. io.Describe(name).Shape]);
        var best = logits.detach().gather(2, ModelFixtureTests.Int64(io, "logits_top16_ids"));
        var sums = logits.detach().logsumexp(-1).unsqueeze(2);
        return Math.Max(
            Close.Assert(Real(Floats("logits_top16_values"), mask), Real(best, mask), "top 16", 3e-4),
            Close.Assert(Real(Floats("logits_logsumexp").unsqueeze(2), mask), Real(sums, mask), "log-sum-exp", 3e-4));
    }

    /// <summary>
    /// Sum, sum of absolute values and Euclidean norm, each within a share of the second; returns the largest difference as such a share.
    /// </summary>
    public static double AssertDigest(JsonElement reference, ReadOnlySpan<float> values, string what)
    {
        var (sum, absolute, squares) = (0.0, 0.0, 0.0);
        foreach (var value in values)
        {
            sum += value;
            absolute += Math.Abs((double)value);
            squares += (double)value * value;
        }

        var (largest, scale) = (0.0, reference[1].GetDouble());
        double[] own = [sum, absolute, Math.Sqrt(squares)];
        foreach (var (number, actual) in own.Index())
            largest = Math.Max(largest, Math.Abs(actual - reference[number].GetDouble()) / scale);
        Assert.True(largest <= 1e-4, $"{what}: a digest is off by {largest:E2} of the sum of absolute values");
        return largest;
    }
}
