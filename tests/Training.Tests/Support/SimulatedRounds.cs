using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;
using FedRLora.Abstractions.Tensors;

namespace FedRLora.Training.Tests;

/// <summary>
/// Rounds of a plan over a real trainer, aggregated as the coordinator does it by default: means in float64 by training rows, of scope
/// Job over all clients and of scope Task over a task's, rounded to float32 and added in float64.
/// </summary>
internal sealed class SimulatedRounds(LocalTrainer trainer, FederationPlan plan)
{
    private readonly Dictionary<string, AdapterState> _tasks = new(StringComparer.Ordinal);
    private readonly Dictionary<string, (AdapterState Head, AdapterState Optimizer)> _own = new(StringComparer.Ordinal);
    private AdapterState _shared = AdapterState.Empty;

    /// <summary>The plan's rounds, in groups of the plan's size.</summary>
    /// <returns>Every tensor of every client after the last, by client.</returns>
    public async Task<IReadOnlyDictionary<string, AdapterState>> RunAsync()
    {
        _shared = await trainer.InitialSharedAsync(plan);
        foreach (var task in plan.Clients.Select(static client => client.Task).Distinct(StringComparer.Ordinal))
            _tasks[task] = await trainer.InitialOfTaskAsync(plan, task);
        for (var round = 1; round <= plan.Strategy.Rounds; round++) await RoundAsync(round);
        return plan.Clients.ToDictionary(
            static client => client.Id, client => new AdapterState([.. _shared, .. _tasks[client.Task], .. _own[client.Id].Head]),
            StringComparer.Ordinal);
    }

    private async Task RoundAsync(int round)
    {
        var results = new List<(ClientSpec Client, TrainingResult Result)>();
        var sorted = plan.Clients.OrderBy(static client => client.Id, StringComparer.Ordinal);
        foreach (var clients in sorted.Chunk(plan.Training.GroupSize!.Value))
        {
            var group = new TrainingGroup { Plan = plan, Round = round, Shared = _shared, Members = [.. clients.Select(MemberOf)] };
            results.AddRange(clients.Zip(await trainer.TrainAsync(group)));
        }

        foreach (var (client, result) in results)
        {
            Assert.Null(result.Failure);
            _own[client.Id] = (result.Head, result.Optimizer);
        }

        _shared = Moved(_shared, [.. results.Select(static entry => entry.Result)]);
        foreach (var task in results.GroupBy(static entry => entry.Client.Task, static entry => entry.Result, StringComparer.Ordinal))
            _tasks[task.Key] = Moved(_tasks[task.Key], [.. task]);
    }

    private GroupMember MemberOf(ClientSpec client)
    {
        var member = new GroupMember { Client = client, OfTask = _tasks[client.Task] };
        return _own.TryGetValue(client.Id, out var own) ? member with { Head = own.Head, Optimizer = own.Optimizer } : member;
    }

    // What no update holds stays as it was.
    private static AdapterState Moved(AdapterState before, IReadOnlyList<TrainingResult> results) => new(before.Select(entry =>
        !results[0].Update.ContainsKey(entry.Key) ? entry : KeyValuePair.Create(entry.Key, entry.Value with
        {
            Data = [.. entry.Value.Data.Select((value, i) => (float)((double)value + (float)(
                results.Sum(result => (double)result.Update[entry.Key].Data[i] * result.Numbers.Samples)
                / results.Sum(static result => (double)result.Numbers.Samples))))],
        })));
}
