using FedRLora.Abstractions.Plans;

namespace FedRLora.Federation.Tests.Plans;

/// <summary>Rounds hold the digest of their plan's values; a build with other digests of equal values cannot export their runs.</summary>
public sealed class RecordedValuesTests
{
    // As an earlier build, whose types were others, wrote them.
    [Theory]
    [InlineData("dora", "9d489ac318ac101f")]
    [InlineData("fedsa-lora", "ba08b8a8f1c571cc")]
    [InlineData("ffa-lora", "2f5fbb8748c3a9b9")]
    [InlineData("hydra-lora", "c9db1e982dfa74d3")]
    [InlineData("lora", "8f8c84f7daead9af")]
    [InlineData("m-lora", "83123314aa82a25d")]
    [InlineData("r-lora", "b464e4e39a98b9c3")]
    [InlineData("r-lora-federated", "3bcb4053580c05fa")]
    [InlineData("rslora", "232a7d90e4ec6169")]
    public void The_digest_of_equal_values_is_that_of_earlier_builds(string method, string digest)
    {
        var plan = PlanReader.Require(
            $"{{name: x, model: m, adapter: {method}, clients: [{{id: a, task: t, site: s, data: {{train: a.jsonl}}}}]}}", "p");
        Assert.Equal(digest, PlanText.ValuesOf(plan));
    }

    [Theory]
    [InlineData("r-lora", "{seed: perClient}", "router")]
    [InlineData("r-lora", "{trains: false, scope: client}", "router")]
    [InlineData("dora", "{trains: false, scope: client}", "magnitude")]
    public void Another_policy_is_another_value(string method, string policy, string role)
    {
        string Of(string adapter) => PlanText.ValuesOf(PlanReader.Require(
            $"{{name: x, model: m, adapter: {adapter}, clients: [{{id: a, task: t, site: s, data: {{train: a.jsonl}}}}]}}", "p"));
        Assert.NotEqual(Of(method), Of($"{{method: {method}, tensors: {{{role}: {policy}}}}}"));
    }
}
