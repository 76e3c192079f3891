using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;
using FedRLora.Abstractions.Tensors;

namespace FedRLora.Training.Tests;

/// <summary>One client that trains a public task on stories260k for one round and is scored.</summary>
internal static class SoloRun
{
    /// <summary>What PEFT's reference runs were trained with, as a plan writes it.</summary>
    public const string ReferenceTraining = "training: {learningRate: 5e-3, warmupSteps: 20, schedule: linear, threads: 1}";

    /// <summary>Plain LoRA as in these runs.</summary>
    public const string ReferenceLora = "adapter: {method: lora, dropout: {site: none}}, " + ReferenceTraining;

    /// <summary>The plan; relative to the folder of reference material.</summary>
    /// <param name="values">Sections <c>adapter</c> and <c>training</c> in YAML's flow style; empty for every default.</param>
    /// <param name="task">A folder of <c>data</c>.</param>
    /// <param name="steps">Of the round.</param>
    /// <param name="seed">Order of rows, start and masks.</param>
    /// <param name="evaluation">The section, in flow style.</param>
    public static FederationPlan Plan(string values, string task, int steps, int seed, string evaluation) => PlanReader.Require(
        $$$"""
        {name: solo, seed: {{{seed}}}, model: models/stories260k, {{{(values.Length == 0 ? "" : $"{values}, ")}}}strategy: {rounds: 1},
        evaluation: {{{evaluation}}},
        clients: [{id: one, task: {{{task}}}, steps: {{{steps}}}, data: {train: data/{{{task}}}/train.jsonl,
        test: data/{{{task}}}/test.jsonl}}]}
        """, "plan.yaml");

    /// <summary>Trains and scores.</summary>
    public static async Task<EvaluationResult> ScoreAsync(LocalTrainer trainer, FederationPlan plan)
    {
        var member = new GroupMember { Client = plan.Clients[0] };
        var shared = await trainer.InitialSharedAsync(plan);
        var trained = (await trainer.TrainAsync(new() { Plan = plan, Round = 1, Shared = shared, Members = [member] }))[0];
        if (trained.Failure is not null) throw new InvalidOperationException(trained.Failure);
        member = member with { Head = trained.Head };
        var result = (await trainer.EvaluateAsync(
            new() { Plan = plan, Round = 1, Shared = Sum(shared, trained.Update), Members = [member] }))[0];
        return result.Failure is null ? result : throw new InvalidOperationException(result.Failure);
    }

    /// <summary>State plus update.</summary>
    public static AdapterState Sum(AdapterState state, AdapterState update) => new(state.Select(entry =>
        KeyValuePair.Create(entry.Key,
            entry.Value with { Data = [.. entry.Value.Data.Zip(update[entry.Key].Data, static (value, change) => value + change)] })));
}

/// <summary>Mean and standard error of values that were measured once each.</summary>
internal readonly record struct Sample(double Mean, double Error)
{
    public static Sample Of(IReadOnlyCollection<double> values)
    {
        var mean = values.Average();
        return new(mean, Math.Sqrt(values.Sum(value => (value - mean) * (value - mean)) / (values.Count - 1) / values.Count));
    }
}
