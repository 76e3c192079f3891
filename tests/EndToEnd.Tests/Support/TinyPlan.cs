using FedRLora.Training.Tests;

namespace FedRLora.EndToEnd.Tests;

/// <summary>The tiny federation's plan as a file.</summary>
internal static class TinyPlan
{
    /// <summary>
    /// Writes the plan beside the data and returns its path. Rank 8 makes the exported rank, 16, exceed the smaller side of a layer.
    /// </summary>
    public static string WritePlan(this TinyFederation tiny, string method = "r-lora-federated", string strategy = "rounds: 2")
    {
        tiny.Write("plan.yaml",
        [
            "name: tiny", "seed: 7", "model: model",
            $"adapter: {{method: {method}, rank: 8, alpha: 6}}",
            "training: {steps: 4, batchSize: 3, maxTokens: 20, learningRate: 1e-2, threads: 1}",
            $"strategy: {{{strategy}}}",
            "clients:",
            "  - {id: one, task: one, data: {train: one.train.jsonl, test: one.test.jsonl}}",
            "  - {id: two, task: two, data: {train: two.train.jsonl, test: two.test.jsonl}}",
        ]);
        return Path.Combine(tiny.Root, "plan.yaml");
    }
}
