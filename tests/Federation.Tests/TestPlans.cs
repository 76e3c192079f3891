using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Tensors;
using FedRLora.Federation.Rounds;

namespace FedRLora.Federation.Tests;

/// <summary>Plans, reports and states that the tests vary.</summary>
internal static class TestPlans
{
    public static string PlanSha256 { get; } = new('0', 64);

    public static FederationPlan Of(params string[] clients) => Of([.. clients.Select(client => Client(client))]);

    public static FederationPlan Of(IReadOnlyList<ClientSpec> clients) => new()
    {
        Name = "test",
        Seed = 7,
        Model = new ModelSpec { Path = "model" },
        Strategy = new StrategySpec { Rounds = 2 },
        Clients = clients,
    };

    public static FederationPlan With(this FederationPlan plan, Func<StrategySpec, StrategySpec> change) =>
        plan with { Strategy = change(plan.Strategy) };

    public static ClientSpec Client(string id, string site = "local", string task = "task", bool test = true, double weight = 1) => new()
    {
        Id = id,
        Task = task,
        Site = site,
        Weight = weight,
        Data = new DataSpec { Train = "train.jsonl", Test = test ? "test.jsonl" : null },
    };

    public static ClientReport Trained(int round, string client, int attempt = 1, string? failure = null) => new()
    {
        Round = round,
        Attempt = attempt,
        Phase = RoundPhase.Train,
        ClientId = client,
        Failure = failure,
        Update = failure is null ? Blob($"update {round} {attempt} {client}") : null,
        Head = failure is null ? Blob($"head {round} {client}") : null,
        Optimizer = failure is null ? Blob($"optimizer {round} {client}") : null,
        Numbers = new() { Samples = 10, Steps = 5, MeanLoss = 1.5, ProductNorm = 0.25 },
    };

    public static ClientReport With(this ClientReport report, Func<TrainingNumbers, TrainingNumbers> change) =>
        report with { Numbers = change(report.Numbers!) };

    public static ClientReport Scored(int round, string client, int attempt = 1, string? failure = null) => new()
    {
        Round = round,
        Attempt = attempt,
        Phase = RoundPhase.Evaluate,
        ClientId = client,
        Failure = failure,
        Score = failure is null ? new ClientScore { Metric = "accuracy", Value = 0.5, Loss = 1, Rows = 8 } : null,
    };

    public static Candidate Candidate(int round, double? coherence = 1) =>
        new() { Shared = Blob($"shared {round}"), Coherence = coherence };

    public static BlobRef Blob(string name) => new(name, RoundManifest.Digest(System.Text.Encoding.UTF8.GetBytes(name)), 8);

    public static AdapterState State(params (string Name, float[] Data)[] arrays) =>
        new(arrays.Select(array => KeyValuePair.Create(array.Name, new NamedArray([array.Data.Length], array.Data))));
}
