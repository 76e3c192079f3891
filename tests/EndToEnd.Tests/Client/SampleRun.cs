using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;

namespace FedRLora.EndToEnd.Tests.Client;

/// <summary>A made-up run: two clients of one task, one of another.</summary>
internal static class SampleRun
{
    public const string Yaml = """
        name: demo
        seed: 7
        model: models/tiny
        strategy: {rounds: 3}
        clients:
          - {id: a, task: sst2, site: north, data: {train: a.jsonl, test: t.jsonl}}
          - {id: b, task: sst2, site: south, data: {train: b.jsonl, test: t.jsonl}}
          - {id: c, task: trec, site: south, data: {train: c.jsonl, test: u.jsonl}}
        """;

    public static FederationPlan Plan { get; } = PlanReader.Require(Yaml, "demo.yaml");

    public static IReadOnlyList<RoundSummary> Rounds(double gain = 0.05) => [.. Enumerable.Range(0, 4).Select(n => Round(n, gain))];

    public static RoundSummary Round(int n, double gain = 0.05) => new()
    {
        ManifestSha256 = new string((char)('a' + n), 64),
        Seconds = n == 0 ? 0 : 2.08,
        Manifest = new()
        {
            Round = n,
            PlanSha256 = new string('e', 64),
            Previous = null,
            Shared = new("", 0),
            Coherence = n == 0 ? null : 0.5,
            Clients = [Client("a", n, 0.50 + gain * n), Client("b", n, 0.52 + gain * n), Client("c", n, 0.20 + 2 * gain * n)],
        },
    };

    public static ManifestClient Client(string id, int round, double score) => new()
    {
        Id = id,
        Outcome = round == 0 ? ClientOutcome.NotSelected : ClientOutcome.Trained,
        Weight = round == 0 ? 0 : 0.25,
        Samples = round == 0 ? 0 : 100,
        Steps = round == 0 ? 0 : 20,
        MeanLoss = round == 0 ? 0 : 1.5 / round,
        ProductNorm = round == 0 ? 0 : 0.125,
        Update = round == 0 ? null : new(new string('f', 64), 2048),
        Score = new()
        {
            Metric = "accuracy", Value = score, Loss = 1.0 - score / 2, Rows = 40, MajorityShare = id == "c" ? 0.22 : 0.5,
            StandardError = 0.06,
        },
    };

    public static JobProgress Progress(JobStatus status, string? reason, params IReadOnlyList<RoundSummary> news) => new()
    {
        JobId = "demo-1", Name = "demo", Status = status, Reason = reason, Rounds = 3, Round = 3, Attempt = 1, Phase = "train",
        Reported = 1, Cohort = 3, NewRounds = news,
    };
}
