using System.Runtime.CompilerServices;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;
using FedRLora.Abstractions.Tensors;

namespace FedRLora.Federation.Faults;

/// <summary>
/// A trainer whose clients have the faults of their plan. A plan without faults goes straight through. The whole group trains, also
/// for members that then say nothing, so that a member's fault changes no bit of another's result. A group reports together: it is as
/// late as its latest member, so give <c>training.groupSize: 1</c> to delay single clients.
/// </summary>
/// <param name="inner">The trainer that works.</param>
/// <param name="time">The clock that delays wait on.</param>
public sealed class FaultyTrainer(ITrainer inner, TimeProvider time) : ITrainer
{
    private readonly ConditionalWeakTable<FederationPlan, FaultSchedule> _schedules = [];

    /// <inheritdoc/>
    public DeviceNow? Device => inner.Device;

    /// <inheritdoc/>
    public Task<EngineFingerprint> FingerprintAsync(FederationPlan plan, CancellationToken cancellationToken = default) =>
        inner.FingerprintAsync(plan, cancellationToken);

    /// <inheritdoc/>
    public Task<int> GroupSizeAsync(FederationPlan plan, CancellationToken cancellationToken = default) =>
        inner.GroupSizeAsync(plan, cancellationToken);

    /// <inheritdoc/>
    public Task<AdapterState> InitialSharedAsync(FederationPlan plan, CancellationToken cancellationToken = default) =>
        inner.InitialSharedAsync(plan, cancellationToken);

    /// <inheritdoc/>
    public Task<AdapterState> InitialOfTaskAsync(FederationPlan plan, string task, CancellationToken cancellationToken = default) =>
        inner.InitialOfTaskAsync(plan, task, cancellationToken);

    /// <inheritdoc/>
    public Task<AdvancedState> AdvanceAsync(
        FederationPlan plan, int round, AdapterState state, string? task, CancellationToken cancellationToken = default) =>
        inner.AdvanceAsync(plan, round, state, task, cancellationToken);

    /// <inheritdoc/>
    public Task<IReadOnlyList<TrainingResult>> TrainAsync(TrainingGroup group, CancellationToken cancellationToken = default) =>
        group.Plan.Faults.Count == 0 ? inner.TrainAsync(group, cancellationToken) : TrainBadlyAsync(group, cancellationToken);

    /// <inheritdoc/>
    public Task<IReadOnlyList<EvaluationResult>> EvaluateAsync(TrainingGroup group, CancellationToken cancellationToken = default) =>
        inner.EvaluateAsync(group, cancellationToken);

    private async Task<IReadOnlyList<TrainingResult>> TrainBadlyAsync(TrainingGroup group, CancellationToken cancellationToken)
    {
        var schedule = _schedules.GetValue(group.Plan, static plan => new FaultSchedule(plan));
        FaultSpec[][] faults = [.. group.Members.Select(member => schedule.Of(member.Client.Id, group.Round).ToArray())];
        TrainingResult?[] instead = [.. group.Members.Select((member, i) => Instead(member.Client.Id, group.Round, faults[i]))];
        var delay = faults.SelectMany(static some => some).Max(static fault => fault.Delay) ?? TimeSpan.Zero;

        var results = instead.All(static result => result is not null) ? instead! : await inner.TrainAsync(group, cancellationToken);
        if (delay > TimeSpan.Zero)
            await Task.Delay(delay, time, cancellationToken);
        return [.. results.Select((result, i) => instead[i] ?? Attacked(result, faults[i]))];
    }

    /// <summary>What is returned whatever the training gave; null where that counts.</summary>
    private static TrainingResult? Instead(string client, int round, FaultSpec[] faults)
    {
        bool Has(FaultKind kind) => faults.Any(fault => fault.Kind == kind);
        if (Has(FaultKind.Silent))
            return new TrainingResult { ClientId = client, Silent = true };
        if (Has(FaultKind.Absent))
            return new TrainingResult
            {
                ClientId = client, Failure = FormattableString.Invariant($"Absent in round {round}, as the plan's faults say."),
            };
        return Has(FaultKind.Fail)
            ? new TrainingResult
            {
                ClientId = client, Failure = FormattableString.Invariant($"Failed in round {round}, as the plan's faults say."),
            }
            : null;
    }

    private static TrainingResult Attacked(TrainingResult result, FaultSpec[] faults) =>
        result.Failure is null && faults.Length > 0
            ? result with { Update = faults.Aggregate(result.Update, static (update, fault) => UpdateAttack.Apply(fault, update)) }
            : result;
}
